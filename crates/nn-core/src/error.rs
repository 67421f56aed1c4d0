//! The one way a user's mistake is reported below `nn-train`: a Candle error with a message for people.

/// Returns a Candle error with the formatted message unless the condition holds.
///
/// Messages read `"{who}: {rule}, got {value}"` and carry both shapes where two disagree.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        // Not `!$condition`: a comparison with NaN is no condition that holds, and reads better unnegated.
        if $condition {
        } else {
            return Err($crate::candle_core::Error::Msg(format!($($message)+)).bt());
        }
    };
}
