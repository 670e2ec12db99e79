"""The server's side of TLS: certificates, versions, cipher suites."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Go's names, which the file uses, and OpenSSL's; those of TLS 1.3 are always on.
CIPHER_SUITES = {
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class NoTls(Exception):  # noqa: N818 - one sentence about one key
    """`key`: of tls_server_config, where the fault is."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(what)
        self.key = key


def server_context(settings: Mapping[str, Any], files: Mapping[str, Path]) -> ssl.SSLContext:
    """`settings`, `files`: by the keys of tls_server_config. Raises NoTls."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings["min_version"]]
    context.maximum_version = _VERSIONS[settings["max_version"]]
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not settings["prefer_server_cipher_suites"]:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0  # a resumed session would outlive a certificate that is taken away
    suites = [CIPHER_SUITES[name] for name in settings["cipher_suites"] if CIPHER_SUITES[name]]
    if suites:
        _set_suites(context, suites)
    texts = {key: _content(key, path) for key, path in files.items()}
    _load_pair(context, files, texts["key_file"])
    if "client_ca_file" in files:
        _load_ca(context, files["client_ca_file"])
    context.verify_mode = _CLIENT_AUTH[settings["client_auth_type"]]
    return context


def _set_suites(context: ssl.SSLContext, suites: list[str]) -> None:
    try:
        context.set_ciphers(":".join(suites))
    except ssl.SSLError:
        raise NoTls("cipher_suites", "OpenSSL allows none of these on this host; choose others") from None


def _content(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NoTls(key, f"there is no file {path}; write it, or name another") from None
    except PermissionError:
        raise NoTls(key, f"{path} may not be read by the collector's user; give it the right to") from None
    except OSError as error:
        raise NoTls(key, f"{path}: {error.strerror}; name another file") from None


def _load_pair(context: ssl.SSLContext, files: Mapping[str, Path], key: bytes) -> None:
    if b"ENCRYPTED" in key:  # OpenSSL would ask for the password on the terminal
        path = files["key_file"]
        raise NoTls("key_file", f"{path} has a password; take it off: openssl pkey -in {path} -out NEW")
    try:
        context.load_cert_chain(files["cert_file"], files["key_file"], password=b"")
    except ssl.SSLError as error:
        raise _about_pair(files, error) from None


def _about_pair(files: Mapping[str, Path], error: ssl.SSLError) -> NoTls:
    certificate, key = files["cert_file"], files["key_file"]
    if error.reason == "KEY_VALUES_MISMATCH":
        return NoTls("key_file", f"{key} is not the key of {certificate}; name the one that belongs to it")
    if not _holds_certificate(certificate):
        return NoTls(
            "cert_file", f"{certificate} holds no certificate; it must begin -----BEGIN CERTIFICATE-----"
        )
    if error.reason and error.reason.startswith(("EE_", "CA_")):
        reason = error.reason.lower().replace("_", " ").removeprefix("ee ")
        return NoTls("cert_file", f"{certificate} is too weak ({reason}); make a new one")
    return NoTls("key_file", f"{key} holds no private key; it must begin -----BEGIN PRIVATE KEY-----")


def _holds_certificate(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise NoTls(
            "client_ca_file", f"{path} holds no certificate; it must begin -----BEGIN CERTIFICATE-----"
        ) from None
