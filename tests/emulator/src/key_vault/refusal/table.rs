//! The table itself.
//!
//! Texts are Microsoft's where one was published. What a vault says to a request without an
//! api-version, to a value that is too long and to its own failure is not known; those rows are
//! worded here.

use super::Row;

const ROWS: &[Row] = &[
    row_of(
        "AKV10000",
        401,
        "Unauthorized",
        "AKV10000: Request is missing a Bearer or PoP token.",
    ),
    row_of(
        "AKV10022",
        401,
        "Unauthorized",
        "AKV10022: Invalid audience. Expected {resource}, found: {audience}.",
    ),
    row_of(
        "AKV10032",
        401,
        "Unauthorized",
        "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/{tenant_id}/, \
         found {issuer}.",
    ),
    row_of(
        "AKV10046",
        401,
        "Unauthorized",
        "AKV10046: Unable to resolve the key used for signature validation. \
         EncodedJwtHeader: '{header}'.",
    ),
    row_of(
        "TokenExpired",
        401,
        "Unauthorized",
        "[TokenExpired] Error validating token: 'S2S12086'.",
    ),
    row_of(
        "InvalidName",
        400,
        "BadParameter",
        "The request URI contains an invalid name: {secret}",
    ),
    row_of(
        "InvalidVersion",
        400,
        "BadParameter",
        "Method GET does not allow operation '{segment}'",
    ),
    row_of(
        "UnknownApiVersion",
        400,
        "BadParameter",
        "The specified version ({about}) is not recognized. Consider using the latest supported \
         version ({latest}).",
    ),
    row_of(
        "MissingApiVersion",
        400,
        "BadParameter",
        "The request URI does not contain the parameter api-version.",
    ),
    row_of(
        "InvalidMaxResults",
        400,
        "BadParameter",
        "The value of maxresults must be between 1 and 25.",
    ),
    row_of(
        "InvalidBody",
        400,
        "BadParameter",
        "The request body is not a secret with a value of 25k characters at most.",
    ),
    forbidden(
        "SecretDisabled",
        "Operation get is not allowed on a disabled secret.",
    ),
    forbidden(
        "ForbiddenByRbac",
        "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny \
         assignments or role definitions were changed recently, please observe propagation \
         time.\r\nCaller: {caller}\r\nAction: '{action}'\r\nResource: \
         '{resource_id}/secrets/{secret}'\r\nAssignment: (not found)\r\nDenyAssignmentId: \
         null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\nVault: \
         {vault};location={location}\r\n",
    ),
    forbidden("AccessDenied", NO_POLICY),
    forbidden("ForbiddenByPolicy", NO_POLICY),
    forbidden(
        "ForbiddenByFirewall",
        "Client address is not authorized and caller is not a trusted service.\r\nClient address: \
         127.0.0.1\r\nCaller: {caller}\r\nVault: {vault};location={location}",
    ),
    forbidden(
        "ForbiddenByConnection",
        "Public network access is disabled and request is not from a trusted service nor via an \
         approved private link.\r\nCaller: {caller}\r\nVault: {vault};location={location}",
    ),
    row_of(
        "SecretNotFound",
        404,
        "SecretNotFound",
        "A secret with (name/id) {secret}{slash_version} was not found in this key vault. If you \
         recently deleted this secret you may be able to recover it using the correct recovery \
         command. For help resolving this issue, please see \
         https://go.microsoft.com/fwlink/?linkid=2125182",
    ),
    row_of(
        "DeletedSecretNotFound",
        404,
        "SecretNotFound",
        "Deleted Secret not found: {secret}",
    ),
    row_of(
        "NotFound",
        404,
        "NotFound",
        "There is nothing at this address.",
    ),
    row_of(
        "MethodNotAllowed",
        405,
        "BadParameter",
        "The method is not allowed here.",
    ),
    Row {
        name: "ObjectIsDeletedButRecoverable",
        status: 409,
        code: "Conflict",
        inner: Some("ObjectIsDeletedButRecoverable"),
        text: "Secret {secret} is currently in a deleted but recoverable state, and its name \
               cannot be reused; in this state, the secret can only be recovered or purged.",
    },
    row_of(
        "Throttled",
        429,
        "Throttled",
        "Request was not processed because too many requests were received. Reason: \
         VaultRequestTypeLimitReached",
    ),
    row_of(
        "InternalError",
        500,
        "InternalError",
        "The server encountered an internal error.",
    ),
    row_of(
        "ServiceUnavailable",
        503,
        "ServiceUnavailable",
        "The service is unavailable. Please retry later.",
    ),
];

const NO_POLICY: &str = "The user, group or application '{caller}' does not have secrets \
    {operation} permission on key vault '{vault};location={location}'. For help resolving this \
    issue, please see https://go.microsoft.com/fwlink/?linkid=2125287";

const fn row_of(name: &'static str, status: u16, code: &'static str, text: &'static str) -> Row {
    Row {
        name,
        status,
        code,
        inner: None,
        text,
    }
}

const fn forbidden(name: &'static str, text: &'static str) -> Row {
    Row {
        name,
        status: 403,
        code: "Forbidden",
        inner: Some(name),
        text,
    }
}

/// For a name that is not in the table.
const UNKNOWN: Row = row_of(
    "Unknown",
    500,
    "InternalError",
    "The emulator knows no such error.",
);

/// The row of a name.
pub(super) fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).unwrap_or(&UNKNOWN)
}

/// Every name there is a row for.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}
