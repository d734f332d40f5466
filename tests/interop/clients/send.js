// nodemailer, with the raw message: send.js PORT USER PASSWORD FILE
const [port, user, pass, file] = process.argv.slice(2);
const transport = require("nodemailer").createTransport({ host: "127.0.0.1", port, ignoreTLS: true, auth: { user, pass } });
transport
  .sendMail({ envelope: { from: user, to: user }, raw: { path: file } })
  .then(() => process.exit(0), (error) => { console.error(error.message); process.exit(1); });
