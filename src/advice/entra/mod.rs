//! Entra's error numbers (`AADSTS...`).
//!
//! The meanings are documented by Microsoft; that a number occurs with these grants is documented or
//! observed. Microsoft warns that numbers and texts may change.

mod apps;
pub(super) mod machine;
mod users;

use super::Advice;

/// One meaning and the numbers that share it.
pub(super) struct Row {
    pub(super) codes: &'static [u32],
    pub(super) advice: Advice,
}

/// All rows.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    apps::ROWS.iter().chain(users::ROWS)
}

const fn row(
    codes: &'static [u32],
    code: &'static str,
    cause: &'static str,
    remedy: &'static str,
) -> Row {
    Row { codes, advice: Advice { code, cause, remedy } }
}
