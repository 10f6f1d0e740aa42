"""A real receiver of OTLP over HTTP: for tests in this process, and as a script on a machine of the lab."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Callable


async def serve(address: str, port: int, got: Callable[[bytes], None], status: int = 200) -> asyncio.Server:
    """Hands every body that is posted to `got`; answers with that status and an empty message."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
                body = await reader.readexactly(length)
                assert lines[0].startswith("post /v1/traces "), lines[0]
                assert "content-type: application/x-protobuf" in lines
                got(body)
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    return await asyncio.start_server(one, address, port)


async def _print(address: str, port: int) -> None:
    server = await serve(address, port, lambda body: print(base64.b64encode(body).decode(), flush=True))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_print(sys.argv[1], int(sys.argv[2])))
