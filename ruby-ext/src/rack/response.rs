//! The three parts that an application returned, read as the Rack SPEC and Puma read them.

use http::StatusCode;
use magnus::{Error, RArray, TryConvert, Value, prelude::*, value::LazyId};

use super::failure::{Failure, Refusal};

static TO_I: LazyId = LazyId::new("to_i");

/// A response as it was returned. Lives on the stack, where the collector sees its objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Triple {
    pub(super) status: Value,
    pub(super) headers: Value,
    pub(super) body: Value,
}

impl Triple {
    /// Takes the return value apart; `None` when it is nothing like a response.
    pub(super) fn of(returned: Value) -> Option<Self> {
        let parts = RArray::from_value(returned)
            .or_else(|| Option::<RArray>::try_convert(returned).ok().flatten())?;
        if parts.len() != 3 {
            return None;
        }
        Some(Self {
            status: parts.entry(0).ok()?,
            headers: parts.entry(1).ok()?,
            body: parts.entry(2).ok()?,
        })
    }

    /// The status: an Integer, or what `to_i` makes of it.
    ///
    /// 1xx is no final status (RFC 9110 section 15.2): sent as one, it would leave the client
    /// waiting and shift every later response. 101 ends HTTP on the connection, so it is one.
    pub(super) fn status(&self) -> Result<StatusCode, Failure> {
        let number: i64 = match i64::try_convert(self.status) {
            Ok(number) => number,
            Err(_) => self.status.funcall::<_, _, i64>(*TO_I, ())?,
        };
        u16::try_from(number)
            .ok()
            .and_then(|number| StatusCode::from_u16(number).ok())
            .filter(|status| {
                !status.is_informational() || *status == StatusCode::SWITCHING_PROTOCOLS
            })
            .ok_or_else(|| Refusal::Status(number.to_string()).into())
    }
}

/// Refuses a return value that is no response.
pub(super) fn not_a_triple(returned: Value) -> Failure {
    Refusal::NotATriple(class_of(returned)).into()
}

/// The name of the class of `object`, for a message.
pub(super) fn class_of(object: Value) -> String {
    // SAFETY: the name is copied at once.
    unsafe { object.classname() }.into_owned()
}

/// What a status and a method make of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It is sent.
    Sent,
    /// There is none; `content-length` tells what a GET would have had (RFC 9110 section 8.6).
    Described,
    /// There is none and can be none: no `content-length` (RFC 9110 section 8.6).
    Forbidden,
    /// There is none: `content-length: 0` (RFC 9110 section 15.3.6).
    Reset,
}

impl Content {
    pub(super) fn of(status: StatusCode, method: &http::Method) -> Self {
        match status.as_u16() {
            100..=199 | 204 => Self::Forbidden,
            205 => Self::Reset,
            304 => Self::Described,
            _ if *method == http::Method::HEAD => Self::Described,
            _ => Self::Sent,
        }
    }
}

/// Whether `object` has the public method `name`.
pub(super) fn has(object: Value, name: &LazyId) -> Result<bool, Error> {
    object.respond_to(**name, false)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn status_and_method_decide_what_is_sent() {
        let table = [
            (200, Method::GET, Content::Sent),
            (200, Method::HEAD, Content::Described),
            (101, Method::GET, Content::Forbidden),
            (204, Method::GET, Content::Forbidden),
            (204, Method::HEAD, Content::Forbidden),
            (205, Method::POST, Content::Reset),
            (304, Method::GET, Content::Described),
            (404, Method::HEAD, Content::Described),
            (500, Method::GET, Content::Sent),
        ];
        for (status, method, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Content::of(status, &method), expected, "{status} {method}");
        }
    }
}
