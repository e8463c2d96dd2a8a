"""An OTLP receiver of grpcio, http.server and the official classes, for test/interop/otlp.test.ts.

Emits every request as {"signal", "protocol", "headers", "request"}, decoded by opentelemetry-proto and
printed by protobuf's own JSON mapping. JSON bodies are parsed strictly: an unknown field is an error.
Commands: {"behave": "unavailable" | "throttle" | "partial" | null}. Options: --grpc-port PORT;
--tls FOLDER, with server.pem, server.key and ca.pem: clients must then show a certificate of ca.pem.
"""

import argparse
import gzip
import ssl
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc

from peer import emit, ready, serve_commands

behaviour = None
PATHS = {
    "/v1/metrics": ("metrics", metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
    "/v1/logs": ("logs", logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
}


def take(signal, protocol, headers, request):
    decoded = json_format.MessageToDict(request, use_integers_for_enums=True)
    emit(signal=signal, protocol=protocol, headers=headers, request=decoded)


def answer(signal, response):
    if behaviour == "partial" and signal == "metrics":
        response.partial_success.rejected_data_points = 1
        response.partial_success.error_message = "one was too old"
    return response


def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def retry_status(seconds):
    """google.rpc.Status with RetryInfo, whose classes are in a package of their own."""
    info = field(1, Duration(seconds=seconds).SerializeToString())
    detail = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, info)
    return bytes([1 << 3, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]]) + field(2, b"slow down") + field(3, detail)


def export(signal, response):
    def handle(request, context):
        if behaviour == "unavailable":
            context.abort(grpc.StatusCode.UNAVAILABLE, "out for lunch")
        if behaviour == "throttle":
            context.set_trailing_metadata((("grpc-status-details-bin", retry_status(7)),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
        take(signal, "grpc", {key: str(value) for key, value in context.invocation_metadata()}, request)
        return answer(signal, response())

    return handle


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path not in PATHS:
            return self.reply(404, b"", "text/plain")
        if behaviour == "unavailable":
            return self.reply(503, b"out for lunch", "text/plain")
        if behaviour == "throttle":
            return self.reply(429, b"", "text/plain", {"retry-after": "7"})
        signal, request_class, response_class = PATHS[self.path]
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        kind = self.headers["content-type"]
        try:
            if kind == "application/json":
                request = json_format.Parse(body, request_class())
            else:
                request = request_class.FromString(body)
        except Exception as error:  # Whatever it is, the request was not OTLP.
            emit(error=str(error))
            return self.reply(400, str(error).encode(), "text/plain")
        protocol = "http/json" if kind == "application/json" else "http/protobuf"
        take(signal, protocol, {key.lower(): value for key, value in self.headers.items()}, request)
        response = answer(signal, response_class())
        if kind == "application/json":
            return self.reply(200, json_format.MessageToJson(response).encode(), kind)
        return self.reply(200, response.SerializeToString(), kind)

    def reply(self, status, body, kind, headers=None):
        self.send_response(status)
        for key, value in {"content-type": kind, "content-length": len(body), **(headers or {})}.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def command(message):
    global behaviour
    behaviour = message["behave"]
    return True


parser = argparse.ArgumentParser()
parser.add_argument("--tls", type=Path)
parser.add_argument("--grpc-port", type=int, default=0)
arguments = parser.parse_args()
tls = arguments.tls

server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
metrics_servicer = type("Metrics", (), {"Export": staticmethod(export("metrics", metrics.ExportMetricsServiceResponse))})
logs_servicer = type("Logs", (), {"Export": staticmethod(export("logs", logs.ExportLogsServiceResponse))})
metrics_grpc.add_MetricsServiceServicer_to_server(metrics_servicer, server)
logs_grpc.add_LogsServiceServicer_to_server(logs_servicer, server)
web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
web.daemon_threads = True
if tls:
    pair = ((tls / "server.key").read_bytes(), (tls / "server.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (tls / "ca.pem").read_bytes(), require_client_auth=True)
    grpc_port = server.add_secure_port(f"127.0.0.1:{arguments.grpc_port}", credentials)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "server.pem", tls / "server.key")
    context.load_verify_locations(tls / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    web.socket = context.wrap_socket(web.socket, server_side=True)
else:
    grpc_port = server.add_insecure_port(f"127.0.0.1:{arguments.grpc_port}")
server.start()
threading.Thread(target=web.serve_forever, daemon=True).start()
serve_commands(command)
ready(grpc_port=grpc_port, http_port=web.server_address[1])
server.wait_for_termination()
