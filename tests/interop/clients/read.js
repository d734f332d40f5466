// imapflow: read.js PORT USER PASSWORD FOLDER writes each message of the inbox into the folder.
const [port, user, pass, folder] = process.argv.slice(2);
const { ImapFlow } = require("imapflow");
const { writeFileSync } = require("fs");

async function main() {
  const client = new ImapFlow({ host: "127.0.0.1", port: Number(port), secure: false, auth: { user, pass }, logger: false });
  await client.connect();
  await client.mailboxOpen("INBOX");
  for await (const { seq, source } of client.fetch("1:*", { source: true })) {
    writeFileSync(`${folder}/${seq}.eml`, source);
  }
  await client.logout();
}

main().catch((error) => { console.error(error.message, error.response || ""); process.exit(1); });
