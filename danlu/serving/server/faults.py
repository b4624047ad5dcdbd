"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from typing import Any

from danlu.errors import DanluError


class ApiError(DanluError):
    """What a client is told.

    Args:
        message: What is wrong, and the remedy.
        status: Of the HTTP answer.
        param: Which field of the request is meant.
        code: A short name for programs.
    """

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """Return the answer's body.

        Example:
            >>> ApiError("no such model", status=404, param="model").body()["error"]["type"]
            'invalid_request_error'
        """
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, "invalid_request_error"),
                "param": self.param,
                "code": self.code,
            }
        }


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}
