// Reads an AsyncAPI document on standard input; prints what the official parser says of it as JSON. Run where it is installed.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { Parser, DiagnosticSeverity } = createRequire(join(process.cwd(), "package.json"))("@asyncapi/parser");

new Parser().parse(readFileSync(0, "utf8")).then(({ document, diagnostics }) => {
  const said = diagnostics.map(({ severity, code, path, message }) => ({ severity: DiagnosticSeverity[severity], code, path: path.join("/"), message }));
  const channels = document ? document.channels().all().map((channel) => [channel.address(), channel.messages().all().map((message) => message.id())]) : [];
  console.log(JSON.stringify({ parsed: document !== undefined, channels: Object.fromEntries(channels), said }));
});
