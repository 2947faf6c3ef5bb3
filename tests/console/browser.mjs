// A browser that does what it is told: each line of stdin is {"code": "…", "args": {…}}, the body of an async function of
// (page, args, tools); each line of stdout is {"value": …} or {"error": "…"}.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(new URL('../../console/package.json', import.meta.url));
const { chromium } = require('playwright-core');
const axe = require('fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const [, , executablePath, base] = process.argv;
const browser = await chromium.launch({ executablePath, headless: true,
	args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--no-first-run', '--disable-background-networking'] });
const context = await browser.newContext({ baseURL: base, ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 }, acceptDownloads: true });
context.setDefaultTimeout(60000);
const page = await context.newPage();
const seen = []; // what no page may do: errors, dialogues, breaches of its policy
page.on('pageerror', (e) => seen.push('error: ' + e.message + '\n' + e.stack));
page.on('dialog', (d) => (seen.push('dialog: ' + d.message()), d.dismiss()));
page.on('console', (m) => {
	if (m.type() === 'error' && !/status of 4\d\d|status of 50[34]/.test(m.text()))
		seen.push('console: ' + m.text());
});

/** What axe-core finds wrong. The page's policy forbids scripts from elsewhere, so it is evaluated from outside. */
async function violations(rules) {
	await page.evaluate(axe + '; 0');
	return page.evaluate(async (only) => {
		const found = await globalThis.axe.run(document, { resultTypes: ['violations'], ...(only ? { runOnly: { type: 'rule', values: only } } : {}) });
		return found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160) + ' [' + (n.any[0]?.message ?? '') + ']').join(' | ')}`);
	}, rules);
}
const tools = { violations, context, browser, seen };

const AsyncFunction = (async () => {}).constructor;
for await (const line of createInterface({ input: process.stdin })) {
	const { code, args } = JSON.parse(line);
	let answer;
	try {
		answer = { value: (await new AsyncFunction('page', 'args', 'tools', code)(page, args, tools)) ?? null };
	} catch (error) {
		answer = { error: String(error.stack ?? error) };
	}
	process.stdout.write(JSON.stringify({ ...answer, seen: seen.splice(0) }) + '\n');
}
await browser.close();
