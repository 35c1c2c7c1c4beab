//! What the service says, in XML and in headers.

use super::Answered;
use crate::server::respond;

/// With the byte order mark that the service begins with.
pub(super) fn xml(text: &str) -> Answered {
    let text = format!("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>{text}");
    respond(200, "application/xml", text)
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Answered {
    let text = format!("\u{feff}<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let mut answered = respond(status, "application/xml", text);
    if let Ok(code) = code.parse() {
        answered.headers_mut().insert("x-ms-error-code", code);
    }
    answered
}

pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}
