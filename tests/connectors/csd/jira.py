"""A Jira Service Management in memory, Cloud or Data Center, with the traps of the real ones.

Written from "The Jira Cloud platform REST API" (v3), "Jira Data Center REST API" (v2) and "Search After Write with Search And Reconcile":
the Cloud's search is late by `lag`, a state is only reached by a transition of the workflow, a refused login is served as a guest.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from email import message_from_bytes
from typing import Any

import httpx

from connectors.csd.httpvendor import Vendor

URL = "https://okienko.atlassian.net"
CASE = "customfield_10100"
ME = "557058:okienko"
STATES = {
    "Open": "new",
    "In Progress": "indeterminate",
    "Waiting for customer": "indeterminate",
    "Done": "done",
    "Canceled": "done",
}
WORKFLOW = {
    "Open": {"11": ("Start", "In Progress"), "21": ("Ask", "Waiting for customer"), "31": ("Resolve", "Done")},
    "In Progress": {"21": ("Ask", "Waiting for customer"), "31": ("Resolve", "Done"), "51": ("Stop", "Open")},
    "Waiting for customer": {"41": ("Answered", "Open"), "31": ("Resolve", "Done")},
    "Done": {"61": ("Reopen", "Open")},
    "Canceled": {"61": ("Reopen", "Open")},
}
PRIORITIES = ["Highest", "High", "Medium", "Low"]
FIELDS: dict[str, dict[str, Any]] = {
    "summary": {"name": "Summary", "schema": {"type": "string"}, "required": True},
    "description": {"name": "Description", "schema": {"type": "string"}},
    "issuetype": {"name": "Issue Type", "schema": {"type": "issuetype"}, "required": True},
    "project": {"name": "Project", "schema": {"type": "project"}, "required": True},
    "priority": {"name": "Priority", "schema": {"type": "priority"}, "allowedValues": [{"name": name} for name in PRIORITIES]},
    CASE: {"name": "okienko case", "schema": {"type": "string"}},
    "customfield_10101": {"name": "Requester", "schema": {"type": "string"}},
    "customfield_10102": {
        "name": "Channel", "schema": {"type": "option"}, "allowedValues": [{"value": "E-mail"}, {"value": "Telefon"}],
    },
    "customfield_10103": {"name": "Arrived", "schema": {"type": "datetime"}},
    "customfield_10104": {"name": "Tags", "schema": {"type": "array", "items": "string"}},
}  # fmt: skip
ALL_PERMISSIONS = (
    "BROWSE_PROJECTS", "CREATE_ISSUES", "EDIT_ISSUES", "TRANSITION_ISSUES", "ADD_COMMENTS", "CREATE_ATTACHMENTS", "ASSIGN_ISSUES",
    "LINK_ISSUES",
)  # fmt: skip
Issue = dict[str, Any]


class FakeJira(Vendor):
    """See the module. `issues` by id."""

    def __init__(self, *, cloud: bool = True) -> None:
        super().__init__()
        self.cloud = cloud
        self.base = "/rest/api/3" if cloud else "/rest/api/2"
        self.count = 10000
        self.numbers = {"CSD": 0, "KON": 0}
        self.issues: dict[str, Issue] = {}
        self.contents: dict[str, bytes] = {}
        self.lag = timedelta(0)
        self.fields = json.loads(json.dumps(FIELDS))
        self.permissions = set(ALL_PERMISSIONS)
        self.filter_ignored = False
        self.ignore_state = False
        self.resolution_required = False
        self.guest = False
        self.near_limit = False

    def writes(self, request: httpx.Request) -> bool:
        return request.method != "GET" and not request.url.path.endswith(("/search", "/search/jql", "/bulkfetch"))

    def stamp(self) -> str:
        """Times in a zone of the account's, as Jira writes them; each change has its own millisecond."""
        self.now += timedelta(milliseconds=1)
        local = self.now + timedelta(hours=1)
        return f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond // 1000:03}+0100"

    def handle(self, request: httpx.Request) -> httpx.Response:
        if self.guest:
            return httpx.Response(200, headers={"X-Seraph-LoginReason": "AUTHENTICATED_FAILED"}, json={"issues": []})
        if not request.headers.get("authorization", "").startswith(("Basic ", "Bearer ")):
            return _errors(401, "You are not authenticated.")
        answer = self._route(request)
        if self.near_limit:
            answer.headers["X-RateLimit-NearLimit"] = "true"
        return answer

    def _route(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/secure/attachment/"):
            return httpx.Response(200, content=self.contents[path.split("/")[3]])
        parts = path.removeprefix(self.base).strip("/").split("/")
        if not path.startswith(self.base):
            return _errors(404, "no such API")
        if parts[0] in ("search", "issue", "issueLink", "attachment"):
            return self._issues(request, parts)
        return self._metadata(request, parts)

    def _issues(self, request: httpx.Request, parts: list[str]) -> httpx.Response:
        body = json.loads(request.content) if request.content.startswith(b"{") else {}
        match request.method, parts:
            case "POST", ["search", "jql"] if self.cloud:
                return self._search(body)
            case "POST", ["search"] if not self.cloud:
                return self._search(body)
            case "POST", ["issue", "bulkfetch"] if self.cloud:
                found = [one for key in body["issueIdsOrKeys"] if (one := self.issue(key))]
                return httpx.Response(200, json={"issues": [self._shown(one) for one in found], "issueErrors": []})
            case "POST", ["issue"]:
                return self.create(body["fields"], body.get("properties"))
            case "POST", ["issueLink"]:
                return self._link(body)
            case "GET", ["attachment", "content", number]:
                return httpx.Response(200, content=self.contents[number])
            case "GET", ["issue", "createmeta", *_]:
                return self._createmeta(parts)
        issue = self.issue(parts[1])
        if issue is None:
            return _errors(404, "Issue does not exist or you do not have permission to see it.")
        match request.method, parts[2:]:
            case "GET", []:
                return httpx.Response(
                    200, json=self._shown(issue, changelog="changelog" in request.url.params.get("expand", ""))
                )
            case "PUT", []:
                return self.edit(issue, body["fields"])
            case "GET", ["comment"]:
                start = int(request.url.params["startAt"])
                rows = issue["comments"][start : start + 50]
                return httpx.Response(200, json={"comments": rows, "startAt": start, "total": len(issue["comments"])})
            case "POST", ["comment"]:
                internal = body["properties"][0]["value"]["internal"]
                return httpx.Response(201, json=self.comment(issue, body["body"], internal=internal))
            case "GET", ["changelog"]:
                start = int(request.url.params["startAt"])
                return httpx.Response(200, json={"values": issue["log"][start : start + 2], "total": len(issue["log"])})
            case "GET", ["transitions"]:
                return httpx.Response(200, json={"transitions": self._transitions(issue)})
            case "POST", ["transitions"]:
                return self._move(issue, body)
            case "POST", ["attachments"]:
                if request.headers.get("x-atlassian-token") != "no-check":
                    return httpx.Response(403, text="XSRF check failed")
                form = message_from_bytes(
                    b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + request.content
                )
                part = form.get_payload()[0]  # type: ignore[index,union-attr]  # a multipart message
                name = re.search(rb'filename="([^"]*)"', request.content)[1].decode()  # type: ignore[index]
                content = request.content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
                assert part is not None
                return httpx.Response(200, json=[self.attach(issue, name, content)])
        return _errors(405, "Method Not Allowed")

    def issue(self, key: str) -> Issue | None:
        """By id, key, or a key it had before."""
        if key in self.issues:
            return self.issues[key]
        return next((one for one in self.issues.values() if key in (one["key"], *one["old_keys"])), None)

    def create(self, fields: dict[str, Any], properties: object = None) -> httpx.Response:
        """A new issue, or what is wrong with it."""
        project = fields.get("project", {}).get("key")
        errors: dict[str, str] = {}
        if project not in self.numbers:
            errors["project"] = "valid project is required"
        if fields.get("issuetype", {}).get("name") not in ("Incident", "Service Request"):
            errors["issuetype"] = "Specify a valid issue type"
        errors |= self._wrong(fields)
        if errors:
            return httpx.Response(400, json={"errorMessages": [], "errors": errors})
        self.count += 1
        self.numbers[project] += 1
        at = self.stamp()
        issue: Issue = {
            "id": str(self.count), "key": f"{project}-{self.numbers[project]}", "old_keys": [], "made": self.now, "comments": [], "log": [],
            "properties": properties,
            "fields": {
                "priority": {"name": "Medium"}, "assignee": None, **fields, "status": {"name": "Open"}, "created": at, "updated": at,
                "attachment": [], "issuelinks": [], "resolution": None,
            },
        }  # fmt: skip
        self.issues[issue["id"]] = issue
        return httpx.Response(201, json={"id": issue["id"], "key": issue["key"]})

    def _wrong(self, fields: dict[str, Any]) -> dict[str, str]:
        errors: dict[str, str] = {}
        for name, value in fields.items():
            known = self.fields.get(name)
            if known is None and name != "assignee":
                text = f"Field '{name}' cannot be set. It is not on the appropriate screen, or unknown."
                errors[name] = text
            elif known and known["schema"]["type"] == "option" and not isinstance(value, dict):
                errors[name] = "Specify a valid 'id' or 'name' for Channel"
            elif known and known["schema"]["type"] == "array" and not isinstance(value, list):
                errors[name] = "data was not an array"
        if fields.get("priority", {"name": "Low"})["name"] not in PRIORITIES:
            errors["priority"] = "The priority selected is invalid."
        summary = fields.get("summary", "x")
        if not summary or len(summary) > 255 or "\n" in summary:
            errors["summary"] = "The summary is invalid because it contains newline characters."
        return errors

    def edit(self, issue: Issue, fields: dict[str, Any]) -> httpx.Response:
        """Somebody writes fields."""
        if errors := self._wrong(fields):
            return httpx.Response(400, json={"errorMessages": [], "errors": errors})
        issue["fields"] |= fields
        issue["fields"]["updated"] = self.stamp()
        return httpx.Response(204)

    def comment(self, issue: Issue, body: object, *, internal: bool, by: str = ME) -> dict[str, Any]:
        """Somebody comments."""
        assert isinstance(body, dict if self.cloud else str), "the body of another API"
        self.count += 1
        at = self.stamp()
        who = (
            {"accountId": by, "displayName": by}
            if self.cloud
            else {"name": by, "key": f"JIRAUSER-{by}", "displayName": by}
        )
        row: dict[str, Any] = {"id": str(self.count), "body": body, "created": at, "author": who}
        if self.cloud:
            row["jsdPublic"] = not internal
        else:
            # Data Center gives the text that it was given.
            row["properties"] = [{"key": "sd.public.comment", "value": {"internal": internal}}]
        issue["comments"].append(row)
        issue["fields"]["updated"] = at
        return row

    def attach(self, issue: Issue, name: str, content: bytes) -> dict[str, Any]:
        """Somebody adds a file."""
        self.count += 1
        row = {"id": str(self.count), "filename": name, "size": len(content), "created": self.stamp()}
        self.contents[row["id"]] = content  # type: ignore[index]  # a str
        issue["fields"]["attachment"].append(row)
        issue["fields"]["updated"] = row["created"]
        return row

    def _transitions(self, issue: Issue) -> list[dict[str, Any]]:
        screen = {"resolution": {"required": self.resolution_required, "hasDefaultValue": False}}
        return [
            {"id": number, "name": name, "to": {"name": to}, "fields": screen if to == "Done" else {}}
            for number, (name, to) in WORKFLOW[issue["fields"]["status"]["name"]].items()
        ]

    def _move(self, issue: Issue, body: dict[str, Any]) -> httpx.Response:
        way = WORKFLOW[issue["fields"]["status"]["name"]].get(body["transition"]["id"])
        if way is None:
            return _errors(
                400,
                f"It seems that you have tried to perform a workflow operation ({body['transition']['id']}) that is not valid",
            )
        if way[1] == "Done" and self.resolution_required and not body.get("fields", {}).get("resolution"):
            return httpx.Response(400, json={"errorMessages": [], "errors": {"resolution": "Resolution is required."}})
        if self.ignore_state:
            self.ignore_state = False
            return httpx.Response(204)
        self.set_state(issue, way[1])
        issue["fields"] |= body.get("fields", {})
        return httpx.Response(204)

    def set_state(self, issue: Issue, name: str) -> None:
        """The state as it is, past the workflow."""
        before = issue["fields"]["status"]["name"]
        issue["log"].append({"items": [{"field": "status", "fromString": before, "toString": name}]})
        issue["log"].append({"items": [{"field": "Rank", "fromString": "", "toString": "Ranked higher"}]})
        issue["fields"] |= {"status": {"name": name}, "updated": self.stamp()}

    def _link(self, body: dict[str, Any]) -> httpx.Response:
        if body["type"]["name"] != "Relates":
            return _errors(404, f"No issue link type with name '{body['type']['name']}' found.")
        one, other = (self.issues[body[name]["id"]] for name in ("inwardIssue", "outwardIssue"))
        for issue, end, name in ((one, other, "outwardIssue"), (other, one, "inwardIssue")):
            issue["fields"]["issuelinks"].append(
                {"type": {"name": "Relates"}, name: {"id": end["id"], "key": end["key"]}}
            )
        return httpx.Response(201)

    def _search(self, body: dict[str, Any]) -> httpx.Response:
        jql, _, order = body["jql"].partition(" ORDER BY ")
        for field in re.findall(r"cf\[(\d+)\]", jql):
            if f"customfield_{field}" not in self.fields:
                return _errors(400, f"Field 'cf[{field}]' does not exist or you do not have permission to view it.")
        for project in re.findall(r'project = "([^"]*)"', jql):
            if project not in self.numbers:
                return _errors(400, f"The value '{project}' does not exist for the field 'project'.")
        found = [one for one in self.issues.values() if self._fits(one, jql) and one["made"] <= self.now - self.lag]
        reverse = "DESC" in order
        by_key = order.startswith("key")
        found.sort(
            key=lambda one: (
                "" if by_key else one["fields"]["updated" if "updated" in order else "created"], one["key"].split("-")[0], int(one["id"])
            ),
            reverse=reverse,
        )  # fmt: skip
        start = int(body.get("nextPageToken") or body.get("startAt") or 0)
        page = found[start : start + min(body["maxResults"], 50)]
        shown = [self._shown(one, names=body["fields"]) for one in page]
        if not self.cloud:
            return httpx.Response(200, json={"issues": shown, "startAt": start, "total": len(found)})
        more = start + len(page) < len(found)
        return httpx.Response(
            200,
            json={"issues": shown, "isLast": not more} | ({"nextPageToken": str(start + len(page))} if more else {}),
        )

    def _fits(self, issue: Issue, jql: str) -> bool:
        fields = issue["fields"]
        if " ~ " in jql:
            return self.filter_ignored or any(
                str(fields.get(CASE)) == one for one in re.findall(r'"\\"([^"\\]*)\\""', jql)
            )
        if project := re.search(r'project = "([^"]*)"', jql):
            minutes = int(re.search(r"-(\d+)m", jql)[1])  # type: ignore[index]
            return bool(issue["key"].startswith(f"{project[1]}-")) and issue["made"] <= self.now - timedelta(
                minutes=minutes
            )
        minutes = int(re.search(r'updated >= "-(\d+)m"', jql)[1])  # type: ignore[index]
        moment = datetime.strptime(fields["updated"], "%Y-%m-%dT%H:%M:%S.%f%z")
        return bool(fields.get(CASE)) and moment >= self.now - timedelta(minutes=minutes)

    def _shown(self, issue: Issue, *, changelog: bool = False, names: list[str] | None = None) -> dict[str, Any]:
        fields = {**issue["fields"], "project": {"key": issue["key"].split("-")[0]}}
        if names is not None:
            fields = {name: fields[name] for name in names if name in fields}
        shown = {"id": issue["id"], "key": issue["key"], "fields": fields}
        return shown | ({"changelog": {"histories": issue["log"]}} if changelog else {})

    def _createmeta(self, parts: list[str]) -> httpx.Response:
        if parts[2] not in self.numbers:
            return _errors(404, "No project could be found")
        if len(parts) == 4:
            rows: list[dict[str, Any]] = [{"id": "1", "name": "Incident"}, {"id": "2", "name": "Service Request"}]
            return httpx.Response(200, json={"issueTypes" if self.cloud else "values": rows, "total": 2})
        rows = [{"fieldId": name, **one} for name, one in self.fields.items()]
        return httpx.Response(200, json={"fields" if self.cloud else "values": rows, "total": len(rows)})

    def _metadata(self, request: httpx.Request, parts: list[str]) -> httpx.Response:
        match parts:
            case ["serverInfo"]:
                return httpx.Response(200, json={"deploymentType": "Cloud" if self.cloud else "Server"})
            case ["myself"]:
                return httpx.Response(200, json={"accountId": ME} if self.cloud else {"name": ME, "key": "JIRAUSER1"})
            case ["field"]:
                return httpx.Response(
                    200, json=[{"id": n, "searchable": True, **one} for n, one in self.fields.items()]
                )
            case ["project", "search"]:
                return httpx.Response(200, json={"values": [{"key": key} for key in self.numbers]})
            case ["project"]:
                return httpx.Response(200, json=[{"key": key} for key in self.numbers])
            case ["project", _, "statuses"]:
                return httpx.Response(200, json=[{"name": "Incident", "statuses": [{"name": name} for name in STATES]}])
            case ["mypermissions"]:
                names = request.url.params["permissions"].split(",")
                have = {name: {"havePermission": name in self.permissions} for name in names}
                return httpx.Response(200, json={"permissions": have})
            case ["issueLinkType"]:
                return httpx.Response(200, json={"issueLinkTypes": [{"name": "Blocks"}, {"name": "Relates"}]})
            case ["resolution"]:
                return httpx.Response(200, json=[{"name": "Done"}, {"name": "Won't Do"}])
        return _errors(404, "null for uri")


def _errors(status: int, *messages: str) -> httpx.Response:
    return httpx.Response(status, json={"errorMessages": list(messages), "errors": {}})
