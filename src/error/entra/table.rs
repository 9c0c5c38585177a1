//! The table itself, by code.

/// What a code means.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) code: u64,
    /// The end of "Microsoft Entra ID refused the job's ID token: ".
    pub(super) says: &'static str,
    /// What to change.
    pub(super) does: &'static str,
    pub(super) fix: Fix,
}

/// What of the job belongs into the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fix {
    /// The sentence is all.
    Nothing,
    /// The token's audience.
    Audience,
    /// The command for a federated credential.
    Credential,
    /// The command that lets the application sign in again.
    Enable,
    /// The command for a service principal.
    Principal,
    /// The addresses that have to answer Entra.
    Reach,
    /// The token's subject.
    Subject,
}

/// Said once, of what a credential that was just created does.
const CREATE: &str =
    "create one; until it has spread, which takes a few minutes, trying again helps:";
const CLOUD: &str = "have the operator set azure.cloud to the cloud that the tenant is in";
const EXPRESSION: &str =
    "correct the expression of the flexible credential, or create a credential for this subject";
const FORM: &str = "report it with the request id; until then check azure.cloud and \
    azure.authority_host for a server that is not Entra's";
const RESIGNED: &str = "look for whatever changes or signs tokens between GitLab and the daemon: \
    GitLab's own are RS256, of type JWT, with a key id";
const REACH: &str = "Entra reads two addresses of GitLab's over the internet, and both have to \
    answer there: try them from outside; docs/azure.md says what a private GitLab can do:";

const fn row(code: u64, says: &'static str, does: &'static str, fix: Fix) -> Row {
    Row {
        code,
        says,
        does,
        fix,
    }
}

const NO_SUCH: &str =
    "no federated credential of the application has its issuer, subject and audience";
const UNREAD: &str = "it could not read GitLab's discovery document or signing keys";
const OTHER_CLOUD: &str = "the tenant is in another cloud";
const UNKNOWN_FORM: &str = "it does not take a request of this form";

const ROWS: &[Row] = &[
    row(
        50_027,
        "it cannot read the token",
        "give `aud:` one text and not a list, under `id_tokens:` in .gitlab-ci.yml",
        Fix::Nothing,
    ),
    row(50_049, OTHER_CLOUD, CLOUD, Fix::Nothing),
    row(50_107, NO_SUCH, CREATE, Fix::Credential),
    row(50_166, UNREAD, REACH, Fix::Reach),
    row(
        53_003,
        "a Conditional Access policy blocks it",
        "have the tenant's administrators admit this application from the daemon's network",
        Fix::Nothing,
    ),
    row(70_003, UNKNOWN_FORM, FORM, Fix::Nothing),
    row(70_011, UNKNOWN_FORM, FORM, Fix::Nothing),
    row(70_021, NO_SUCH, CREATE, Fix::Credential),
    row(
        70_025,
        "the application has no federated credential at all",
        CREATE,
        Fix::Credential,
    ),
    row(
        90_002,
        "there is no such tenant",
        "set AZURE_TENANT_ID to the Directory (tenant) ID; if it is that, have the operator check \
         azure.cloud",
        Fix::Nothing,
    ),
    row(
        90_014,
        "it misses a claim in the token",
        "use an ID token from `id_tokens:` in .gitlab-ci.yml, and no other",
        Fix::Nothing,
    ),
    row(90_038, OTHER_CLOUD, CLOUD, Fix::Nothing),
    row(90_061, UNREAD, REACH, Fix::Reach),
    row(
        500_011,
        "the tenant has no Key Vault of the cloud that the daemon is set to",
        CLOUD,
        Fix::Nothing,
    ),
    row(501_661, UNREAD, REACH, Fix::Reach),
    row(
        530_032,
        "a Conditional Access policy blocks it",
        "have the tenant's administrators admit this application from the daemon's network",
        Fix::Nothing,
    ),
    row(
        700_016,
        "the tenant has no application of that client id",
        "set AZURE_CLIENT_ID to the Application (client) ID, which is not the Object ID, and \
         AZURE_TENANT_ID to the tenant that it is in",
        Fix::Nothing,
    ),
    row(700_021, UNKNOWN_FORM, FORM, Fix::Nothing),
    row(
        700_024,
        "by its clock the token is not valid now",
        "compare the clocks of GitLab and of the daemon's host with a time server: by the daemon's \
         the token is valid",
        Fix::Nothing,
    ),
    row(
        700_027,
        "it takes the token for one that the application signed itself",
        "use an ID token from `id_tokens:` in .gitlab-ci.yml, and no other",
        Fix::Nothing,
    ),
    row(
        700_211,
        "no federated credential of the application has its issuer",
        CREATE,
        Fix::Credential,
    ),
    row(
        700_212,
        "no federated credential of the application has its audience",
        "make `aud:` under `id_tokens:` and the audience of the federated credential the same",
        Fix::Audience,
    ),
    row(
        700_213,
        "no federated credential of the application has its subject",
        CREATE,
        Fix::Credential,
    ),
    row(
        700_222,
        "it is one that Entra itself issued",
        "use an ID token from `id_tokens:` in .gitlab-ci.yml, and no other",
        Fix::Nothing,
    ),
    row(
        700_223,
        "the tenant has federated credentials turned off",
        "have the tenant's administrators allow them",
        Fix::Nothing,
    ),
    row(
        700_229,
        "it is one that Entra itself issued",
        "use an ID token from `id_tokens:` in .gitlab-ci.yml, and no other",
        Fix::Nothing,
    ),
    row(
        700_233,
        "the expression of a flexible credential cannot be read",
        EXPRESSION,
        Fix::Credential,
    ),
    row(
        700_234,
        "the expression of a flexible credential fails",
        EXPRESSION,
        Fix::Credential,
    ),
    row(
        700_235,
        "a managed identity cannot have expressions",
        "create a credential for this subject on the managed identity, or use an application",
        Fix::Credential,
    ),
    row(
        700_237,
        "the tenant allows no expressions",
        "create a credential for this subject",
        Fix::Credential,
    ),
    row(
        900_023,
        "the tenant is neither a GUID nor a domain of Entra's",
        "set AZURE_TENANT_ID to the Directory (tenant) ID",
        Fix::Nothing,
    ),
    row(900_144, UNKNOWN_FORM, FORM, Fix::Nothing),
    row(900_382, OTHER_CLOUD, CLOUD, Fix::Nothing),
    row(900_432, OTHER_CLOUD, CLOUD, Fix::Nothing),
    row(900_439, OTHER_CLOUD, CLOUD, Fix::Nothing),
    row(900_440, OTHER_CLOUD, CLOUD, Fix::Nothing),
    row(1_002_012, UNKNOWN_FORM, FORM, Fix::Nothing),
    row(5_002_723, "it has no key id", RESIGNED, Fix::Nothing),
    row(5_002_727, "it is of another type", RESIGNED, Fix::Nothing),
    row(
        5_002_730,
        "its key does not go with its algorithm",
        RESIGNED,
        Fix::Nothing,
    ),
    row(
        5_002_738,
        "it is signed by another algorithm",
        RESIGNED,
        Fix::Nothing,
    ),
    row(
        7_000_112,
        "the application is disabled",
        "let it sign in again:",
        Fix::Enable,
    ),
    row(7_000_215, UNKNOWN_FORM, FORM, Fix::Nothing),
    row(7_000_216, UNKNOWN_FORM, FORM, Fix::Nothing),
    row(7_000_218, UNKNOWN_FORM, FORM, Fix::Nothing),
    row(
        7_000_229,
        "the application has no service principal in the tenant",
        "create it:",
        Fix::Principal,
    ),
    row(
        7_000_272,
        "GitLab publishes no such key, as far as it knows",
        "if GitLab's key is new, try again in half an hour, when Entra reads the keys anew; \
         otherwise see which keys it publishes:",
        Fix::Reach,
    ),
    row(
        7_000_274,
        "its signature does not go with GitLab's key",
        "see whether the same GitLab answers Entra and the daemon:",
        Fix::Reach,
    ),
    row(
        7_002_131,
        "no federated credential of the application has its subject, and no expression matches it",
        CREATE,
        Fix::Credential,
    ),
    row(
        7_002_137,
        "no federated credential of the managed identity has its subject",
        CREATE,
        Fix::Credential,
    ),
    row(
        7_002_138,
        "a federated credential has its subject in other case, and case counts",
        "set the credential's subject to the token's, letter by letter",
        Fix::Subject,
    ),
    row(
        7_002_241,
        "flexible credentials are not for this issuer",
        "create a credential for this subject, without an expression",
        Fix::Credential,
    ),
    row(
        7_002_381,
        "the tenant's policy wants a claim in tokens of this issuer that GitLab does not set",
        "have the tenant's administrators exempt this issuer",
        Fix::Nothing,
    ),
    row(
        9_001_023,
        "it wants a tenant, and not `common` or `organizations`",
        "set AZURE_TENANT_ID to the Directory (tenant) ID",
        Fix::Nothing,
    ),
    row(
        70_022_204,
        "its audience is for another cloud",
        "for US Government use api://AzureADTokenExchangeUSGov, for China \
         api://AzureADTokenExchangeChina, otherwise api://AzureADTokenExchange",
        Fix::Audience,
    ),
];

/// The row of a code.
pub(super) fn row_of(code: u64) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.code == code)
}
