// The one script that is started as a worker: feed.js, an MQTT client.

// Its address is the only script address that any text may become. A page has one policy of this name, so everybody comes here.
const scripts = globalThis.trustedTypes?.createPolicy('signet', { createScriptURL: (/** @type {string} */ name) => {
	if (name !== 'feed.js')
		throw new TypeError('not a script of the console');
	return new URL('../feed.js', import.meta.url).href;
} });

export function startWorker() {
	return new Worker(/** @type {any} */ (scripts ? scripts.createScriptURL('feed.js') : new URL('../feed.js', import.meta.url)), { type: 'module' });
}
