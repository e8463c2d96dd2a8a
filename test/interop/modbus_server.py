"""A pymodbus server, on TCP or on a serial line, for test/interop/modbus.test.ts.

Unit 1 has four separate areas, with holes between the registers; unit 2 has other values at the same
addresses. Commands: {"set": [unit, address, value]} changes a holding register; {"deny": [code, from,
to]} answers reads that touch these addresses of unit 1 with an exception, {"deny": null} no longer.
"""

import argparse
import asyncio

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from peer import ready, serve_commands

denied = None
written = {}


def access(unit):
    async def action(function, start, address, count, registers, values):
        if unit == 1 and denied and address <= denied[2] and denied[1] < address + count:
            return ExcCodes(denied[0])
        for (at_unit, at), value in written.items():
            if function == 3 and at_unit == unit:
                registers[at - start] = value
        return None

    return action


def devices():
    coils = [SimData(0, values=[True, False, True, True, False, False, False, True] * 2, datatype=DataType.BITS)]
    discrete = [SimData(16, values=[False, True] * 8, datatype=DataType.BITS)]
    holding = [
        SimData(0, values=[1, 2, 3, 0xFFFE], datatype=DataType.REGISTERS),
        SimData(10, values=230.5, datatype=DataType.FLOAT32),
        SimData(12, values=-123456789, datatype=DataType.INT32),
        SimData(14, values=9007199254740993, datatype=DataType.UINT64),
        SimData(18, values=-2.5e-300, datatype=DataType.FLOAT64),
        SimData(40, values="LINESIDE", datatype=DataType.STRING),
        SimData(100, count=200, values=7, datatype=DataType.REGISTERS),
    ]
    inputs = [SimData(0, values=[1000, 2000, 3000], datatype=DataType.REGISTERS)]
    other = [SimData(0, values=[11, 12, 13, 14], datatype=DataType.REGISTERS)]
    return [
        SimDevice(1, simdata=(coils, discrete, holding, inputs), action=access(1)),
        SimDevice(2, simdata=(coils, discrete, other, inputs), action=access(2)),
    ]


def command(message):
    global denied
    if "deny" in message:
        denied = message["deny"]
    if "set" in message:
        unit, address, value = message["set"]
        written[(unit, address)] = value
    return "done"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--serial", help="device file; without it, TCP")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--framer", choices=["socket", "rtu"], default="socket")
    options = parser.parse_args()
    serve_commands(command)
    if options.serial:
        server = ModbusSerialServer(devices(), port=options.serial, baudrate=19200, framer=FramerType.RTU)
        await server.serve_forever(background=True)
        ready(serial=options.serial)
    else:
        server = ModbusTcpServer(
            devices(), address=("127.0.0.1", options.port), framer=FramerType(options.framer)
        )
        await server.serve_forever(background=True)
        ready(port=server.transport.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


asyncio.run(main())
