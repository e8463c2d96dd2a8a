"""An asyncua server for test/interop/opcua.test.ts.

Its variables stand in the namespace http://acme.example/oven, behind those of --extra, so that its
index moves. --secure leaves only Basic256Sha256, SignAndEncrypt, and operator with lineside;
--ended gives it a certificate of yesterday. Commands: {"set": [name, value]}, {"status": [name, code]}.
"""

import argparse
import asyncio
import datetime
import socket
import tempfile
from pathlib import Path

from asyncua import Server, ua
from asyncua.server.user_managers import UserManager
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peer import ready, serve_commands

URI = "http://acme.example/oven"
APPLICATION = "urn:acme.example:oven:server"
DAY = datetime.timedelta(days=1)

VARIABLES = {
    "temperature": ("Zone1.PV", ua.Variant(21.5, ua.VariantType.Double)),
    "count": ('"DB 1"."Count"[3]', ua.Variant(2**53 + 1, ua.VariantType.Int64)),
    "total": ("total", ua.Variant(2**63 - 1, ua.VariantType.UInt64)),
    "running": ("running", ua.Variant(True, ua.VariantType.Boolean)),
    "lot": ("lot", ua.Variant("L-7", ua.VariantType.String)),
    "message": ("message", ua.Variant(ua.LocalizedText("läuft", "de"), ua.VariantType.LocalizedText)),
    "started": ("started", ua.Variant(datetime.datetime(2026, 1, 2, 3, 4, 5, 678901), ua.VariantType.DateTime)),
    "small": ("small", ua.Variant(-5, ua.VariantType.SByte)),
    "list": ("list", ua.Variant([1.0, 2.0], ua.VariantType.Double)),
}


class OneUser(UserManager):
    def get_user(self, iserver, username=None, password=None, certificate=None):
        if username == "operator" and password == "lineside":
            return User(role=UserRole.User)
        return None


def certificate(folder, ended):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oven")])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now - DAY if ended else now + 10 * DAY)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(APPLICATION), x509.DNSName(socket.gethostname())]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.der").write_bytes(built.public_bytes(serialization.Encoding.DER))
    (folder / "server.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


async def main(options):
    server = Server(user_manager=OneUser() if options.secure else None)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{options.port}/oven/")
    await server.set_application_uri(APPLICATION)
    if options.secure:
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        server.set_identity_tokens([ua.UserNameIdentityToken])
        with tempfile.TemporaryDirectory() as folder:
            certificate(Path(folder), options.ended)
            await server.load_certificate(str(Path(folder) / "server.der"))
            await server.load_private_key(str(Path(folder) / "server.pem"))
    else:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    for uri in options.extra:
        await server.register_namespace(uri)
    index = await server.register_namespace(URI)
    nodes = {}
    for name, (identifier, value) in VARIABLES.items():
        node = ua.NodeId(identifier, index)
        nodes[name] = await server.nodes.objects.add_variable(node, ua.QualifiedName(name, index), value)

    loop = asyncio.get_running_loop()

    async def act(message):
        name, what = message["set"] if "set" in message else message["status"]
        value = ua.Variant(what, VARIABLES[name][1].VariantType) if "set" in message else VARIABLES[name][1]
        status = ua.StatusCode(getattr(ua.StatusCodes, what)) if "status" in message else ua.StatusCode(0)
        stamp = datetime.datetime.now(datetime.UTC)
        await nodes[name].write_value(ua.DataValue(value, StatusCode=status, SourceTimestamp=stamp))
        return True

    async with server:
        serve_commands(lambda message: asyncio.run_coroutine_threadsafe(act(message), loop).result())
        ready(port=options.port, index=index)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("--secure", action="store_true")
    parser.add_argument("--ended", action="store_true")
    asyncio.run(main(parser.parse_args()))
