/** What the agent says of itself: /status, `lineside buffer status` on a running agent, the demo, own metrics. */
import type { DeviceStatus } from "./device.ts";
import type { ForwardStatus } from "./forward.ts";
import type { Reading } from "./process/latest.ts";

export interface TargetStatus extends Omit<ForwardStatus, "target"> {
  readonly name: string;
  readonly type: string;
  /** Readings since the target is known to the journal: read = delivered + queued + dropped. */
  readonly read: number;
  readonly delivered: number;
  readonly queued: number;
  readonly dropped: number;
  /** read - delivered - queued - dropped: always 0, or there is a defect. */
  readonly imbalance: number;
  /** Since when these are counted: restarts do not set them back. */
  readonly counted_since_us: number;
}

export interface AgentStatus {
  readonly gateway: string;
  readonly version: string;
  readonly started_us: number;
  readonly now_us: number;
  /** Readings since the start, by source. */
  readonly sources: Readonly<Record<string, number>>;
  readonly devices: readonly DeviceStatus[];
  readonly targets: readonly TargetStatus[];
  readonly journal: {
    readonly bytes_on_disk: number;
    readonly limit_bytes: number;
    readonly segments: number;
    readonly commits: number;
    readonly commit_bytes: number;
    readonly write_errors: number;
    /** Readings that are not durable yet. */
    readonly waiting: number;
  };
  readonly process: {
    readonly pid: number;
    readonly cpu_s: number;
    readonly rss_bytes: number;
    readonly uptime_s: number;
    /** Time that the event loop was at work and not waiting. */
    readonly loop_active_s: number;
  };
}

/** The newest readings of a device, beside its status. */
export interface DeviceReadings {
  readonly device: string;
  readonly readings: readonly Reading[];
}

/** What a reload did, by name of device or target. */
export interface Changed {
  readonly started: string[];
  readonly stopped: string[];
  readonly replaced: string[];
}
