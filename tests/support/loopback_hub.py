"""A Hugging Face hub on this machine, as far as the way of a dataset there and back and of a model needs one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Hub:
    """Holds repositories in memory: name → {path: content}.

    `private`, `kinds`, `commits` and `fetched` are what was asked for.
    """

    def __init__(self, token: str = "hf_ann") -> None:
        self.token = token
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.kinds: dict[str, str] = {}
        self.commits: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.fetched: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def publish(self, repo: str, folder: Path) -> None:
        """A model whose files are these."""
        files = (path for path in folder.rglob("*") if path.is_file())
        self.repos[repo] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        self.private[repo], self.kinds[repo] = False, "model"

    def sha(self, repo: str) -> str:
        return hashlib.sha1(repr((repo, self.commits)).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def answer(self, value: Any, code: int = 200, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def handle_all(self) -> None:
        hub, path = self.hub, self.path.split("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith("/lfs/"):
            hub.objects[path.removeprefix("/lfs/")] = body
            return self.answer({})
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            hub.repos[repo], hub.private[repo] = {}, asked.get("visibility") == "private" or bool(asked.get("private"))
            hub.kinds[repo] = asked.get("type") or "model"
            kind = "datasets/" if hub.kinds[repo] == "dataset" else ""
            return self.answer({"url": f"{hub.url}/{kind}{repo}", "name": repo})
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        found = re.match(r"/(?:api/)?(?:datasets/|models/)?(\w+/[\w.-]+?)(?:\.git)?(?:/(.*))?$", path)
        if not found or found[1] not in hub.repos:
            return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        return self.about(found[1], found[2] or "", body)

    def about(self, repo: str, rest: str, body: bytes) -> None:
        hub, files = self.hub, self.hub.repos[repo]
        if rest.startswith("preupload/"):
            mode = {True: "lfs", False: "regular"}
            asked = [entry["path"] for entry in json.loads(body)["files"]]
            told = [
                {"path": p, "uploadMode": mode[p.endswith(("parquet", "safetensors"))], "shouldIgnore": False}
                for p in asked
            ]
            for entry in told:
                if content := files.get(entry["path"]):
                    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                    entry["oid"] = hashlib.sha256(content).hexdigest() if entry["uploadMode"] == "lfs" else blob
            return self.answer({"files": told})
        if rest == "info/lfs/objects/batch":
            wanted = [entry["oid"] for entry in json.loads(body)["objects"]]
            actions = {oid: {"actions": {"upload": {"href": f"{hub.url}/lfs/{oid}"}}} for oid in wanted}
            return self.answer({"objects": [{"oid": oid, "size": 1, **actions[oid]} for oid in wanted]})
        if rest.startswith("commit/"):
            for line in map(json.loads, body.splitlines()):
                key, value = line["key"], line["value"]
                if key == "header":
                    hub.commits.append(value["summary"])
                elif key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    files[value["path"]] = hub.objects[value["oid"]]
                elif key == "deletedFile":
                    del files[value["path"]]
            address = f"{hub.url}/datasets/{repo}/commit/{hub.sha(repo)}"
            return self.answer({"commitUrl": address, "commitOid": hub.sha(repo), "pullRequestUrl": None})
        if rest.startswith("tree/"):
            return self.answer([{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files.items()])
        if rest.startswith("resolve/"):
            _, revision, name = rest.split("/", 2)
            commit = revision if re.fullmatch(r"[0-9a-f]{40}", revision) else hub.sha(repo)
            if (content := files.get(name)) is None:
                return self.answer(
                    {"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit
                )
            hub.fetched.append(f"{repo}/{name}")
            return self.answer(content, ETag=hashlib.sha256(content).hexdigest(), X_Repo_Commit=commit)
        siblings = [{"rfilename": name} for name in files]
        told = {"id": repo, "sha": hub.sha(repo), "private": hub.private[repo], "siblings": siblings, "tags": []}
        return self.answer({**told, "downloads": 0, "likes": 0})

    do_GET = do_HEAD = do_POST = do_PUT = handle_all
