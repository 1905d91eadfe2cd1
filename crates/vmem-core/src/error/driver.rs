//! What a driver answered.

use std::fmt;

/// A driver's result code, kept as the number it is.
///
/// The known ones have the values of CUDA's `CUresult`; an unknown one is just another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DriverCode(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl DriverCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// CUDA's name for the code, where it is a known one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// An argument is outside its range.
    INVALID_VALUE = 1, "CUDA_ERROR_INVALID_VALUE";
    /// Not enough memory.
    OUT_OF_MEMORY = 2, "CUDA_ERROR_OUT_OF_MEMORY";
    /// The driver has not been initialised.
    NOT_INITIALIZED = 3, "CUDA_ERROR_NOT_INITIALIZED";
    /// The driver is shutting down.
    DEINITIALIZED = 4, "CUDA_ERROR_DEINITIALIZED";
    /// No device is present.
    NO_DEVICE = 100, "CUDA_ERROR_NO_DEVICE";
    /// The context is not valid here.
    INVALID_CONTEXT = 201, "CUDA_ERROR_INVALID_CONTEXT";
    /// A mapping failed.
    MAP_FAILED = 205, "CUDA_ERROR_MAP_FAILED";
    /// An unmapping failed.
    UNMAP_FAILED = 206, "CUDA_ERROR_UNMAP_FAILED";
    /// A stream, event or memory handle is not valid.
    INVALID_HANDLE = 400, "CUDA_ERROR_INVALID_HANDLE";
    /// The object's state does not allow the call.
    ILLEGAL_STATE = 401, "CUDA_ERROR_ILLEGAL_STATE";
    /// Work is still pending; not an error.
    NOT_READY = 600, "CUDA_ERROR_NOT_READY";
    /// A kernel touched an address it must not.
    ILLEGAL_ADDRESS = 700, "CUDA_ERROR_ILLEGAL_ADDRESS";
    /// A kernel failed; the context is lost.
    LAUNCH_FAILED = 719, "CUDA_ERROR_LAUNCH_FAILED";
    /// The call is not permitted.
    NOT_PERMITTED = 800, "CUDA_ERROR_NOT_PERMITTED";
    /// The device or driver does not support the call.
    NOT_SUPPORTED = 801, "CUDA_ERROR_NOT_SUPPORTED";
    /// The call is forbidden while a stream captures.
    STREAM_CAPTURE_UNSUPPORTED = 900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
    /// The call broke a running capture.
    STREAM_CAPTURE_INVALIDATED = 901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
    /// The call would have joined two captures.
    STREAM_CAPTURE_MERGE = 902, "CUDA_ERROR_STREAM_CAPTURE_MERGE";
    /// The capture did not begin on this stream.
    STREAM_CAPTURE_UNMATCHED = 903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED";
    /// A stream that joined the capture was not joined back.
    STREAM_CAPTURE_UNJOINED = 904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED";
    /// Captured work would depend on work outside of its capture.
    STREAM_CAPTURE_ISOLATION = 905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION";
    /// The call on the legacy default stream would touch a running capture.
    STREAM_CAPTURE_IMPLICIT = 906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT";
    /// The event was recorded inside a running capture.
    CAPTURED_EVENT = 907, "CUDA_ERROR_CAPTURED_EVENT";
    /// The capture was begun by another thread.
    STREAM_CAPTURE_WRONG_THREAD = 908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD";
    /// A wait took longer than it may.
    TIMEOUT = 909, "CUDA_ERROR_TIMEOUT";
    /// An executable graph cannot be updated in this way.
    GRAPH_EXEC_UPDATE_FAILURE = 910, "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE";
    /// A device outside of CUDA's control failed.
    EXTERNAL_DEVICE = 911, "CUDA_ERROR_EXTERNAL_DEVICE";
    /// Anything else.
    UNKNOWN = 999, "CUDA_ERROR_UNKNOWN";
}

impl fmt::Display for DriverCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{} (not a code this version knows)", self.0),
        }
    }
}

/// A driver call that failed: which call, which code, and what more is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverError {
    call: &'static str,
    code: DriverCode,
    detail: Option<Box<str>>,
}

impl DriverError {
    /// `call` answered `code`.
    pub const fn new(call: &'static str, code: DriverCode) -> Self {
        Self { call, code, detail: None }
    }

    /// Returns it with a text that says more.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<Box<str>>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// The call that failed.
    pub const fn call(&self) -> &'static str {
        self.call
    }

    /// The code it answered.
    pub const fn code(&self) -> DriverCode {
        self.code
    }

    /// A text that says more, or is empty.
    pub fn detail(&self) -> &str {
        self.detail.as_deref().unwrap_or("")
    }

    /// Returns true if the device has too little memory, as opposed to any other fault.
    pub fn is_out_of_memory(&self) -> bool {
        self.code == DriverCode::OUT_OF_MEMORY
    }

    /// Returns true if the call was refused because a stream captures, and would be served once
    /// the capture has ended.
    pub fn is_capture(&self) -> bool {
        matches!(
            self.code,
            DriverCode::STREAM_CAPTURE_UNSUPPORTED | DriverCode::STREAM_CAPTURE_IMPLICIT
        )
    }

    /// Returns true if the error says something of a capture and nothing of the device: what
    /// [`is_capture`](Self::is_capture) does, and that a capture is broken, or that a stream or an event
    /// belongs to one. The device works on.
    pub fn concerns_capture(&self) -> bool {
        let codes =
            DriverCode::STREAM_CAPTURE_UNSUPPORTED.0..=DriverCode::STREAM_CAPTURE_WRONG_THREAD.0;
        codes.contains(&self.code.0)
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}", self.call, self.code)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DriverError {}
