// Logs in with an ID token and reads secrets, with nothing set but a proxy and a CA file.
import assert from "node:assert/strict";
import { ClientAssertionCredential } from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";

const { TENANT_ID, CLIENT_ID, ID_TOKEN, VAULT_URL } = process.env;
const credential = new ClientAssertionCredential(TENANT_ID, CLIENT_ID, async () => ID_TOKEN);
const client = new SecretClient(VAULT_URL, credential);

const newest = await client.getSecret("api-key");
const versions = [];
const pages = client.listPropertiesOfSecretVersions("api-key").byPage({ maxPageSize: 1 });
for await (const page of pages) {
  versions.push(...page.map((properties) => properties.version));
}
assert.equal(versions.length, 2);
const oldest = await client.getSecret("api-key", { version: versions[0] });
assert.notEqual(oldest.value, newest.value);

console.log((await client.getSecret("db-password")).value);
