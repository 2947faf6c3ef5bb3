// What happens, as control tells it (server-sent events): so that a page need not ask again and again. A page that nobody sees listens to nothing.
import { query } from './api.js';
import { useEffect, useRef } from './ui.js';

const AGAIN = 10000; // ms until a stream that was refused is tried again
const GATHER = 250; // ms in which events are taken together
const REST = 1000; // ms between two calls at least

/**
 * Calls <then> with the events that have come, soon after the first of them, and with none when some may have been missed.
 * @param {{ kinds: string, device?: string }} what
 * @param {(events: { kind: string, data: any }[]) => void} then
 */
export function useEvents(what, then) {
	const call = useRef(then);
	call.current = then;
	useEffect(() => {
		/** @type {EventSource | null} */
		let source = null;
		/** @type {{ kind: string, data: any }[]} */
		let waiting = [];
		let timer = 0, again = 0, last = 0;
		const tell = () => {
			const events = waiting;
			timer = 0;
			waiting = [];
			last = Date.now();
			call.current(events);
		};
		const plan = () => {
			timer ||= setTimeout(tell, Math.max(GATHER, last + REST - Date.now()));
		};
		const take = (/** @type {any} */ e) => {
			if (waiting.length < 1000)
				waiting.push({ kind: e.type, data: JSON.parse(e.data) });
			plan();
		};
		const begin = () => {
			clearTimeout(again);
			source = new EventSource('/api/v1/events' + query(what));
			for (const kind of what.kinds.split(','))
				source.addEventListener(kind, take);
			source.addEventListener('missed', plan);
			source.onerror = () => {
				if (source?.readyState === EventSource.CLOSED)
					again = setTimeout(begin, AGAIN);
			};
		};
		const end = () => {
			clearTimeout(again);
			source?.close();
			source = null;
		};
		const look = () => {
			if (document.hidden)
				return end();
			begin();
			plan();
		};
		if (!document.hidden)
			begin();
		document.addEventListener('visibilitychange', look);
		return () => {
			document.removeEventListener('visibilitychange', look);
			clearTimeout(timer);
			end();
		};
	}, [what.kinds, what.device]);
}
