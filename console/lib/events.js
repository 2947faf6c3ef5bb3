// What happens, as control tells it (server-sent events): so that a page need not ask again and again. A page that nobody sees listens to nothing.
import { query } from './api.js';
import { useEffect, useRef } from './ui.js';

const AGAIN = 10000; // ms until a stream that was refused is tried again
const GATHER = 250; // ms in which events are taken together
const REST = 500; // ms between two calls at least

/**
 * Calls <then> with the events that have come, soon after the first of them, and with none when some may have been missed.
 * @param {{ kinds: string, device?: string }} what
 * @param {(events: { kind: string, data: any }[]) => any} then what it gives back is waited for
 */
export function useEvents(what, then) {
	const call = useRef(then);
	call.current = then;
	useEffect(() => {
		/** @type {EventSource | null} */
		let source = null;
		/** @type {{ kind: string, data: any }[]} */
		let waiting = [];
		let timer = 0, again = 0, last = 0, busy = false, due = false, gone = false;
		// Never while the page still loads because of the events before: else it would never come to the end of it.
		const tell = async () => {
			const events = waiting;
			timer = 0;
			waiting = [];
			due = false;
			busy = true;
			await call.current(events);
			busy = false;
			last = Date.now();
			if (due && !gone)
				plan();
		};
		const plan = () => {
			due = true;
			if (!busy)
				timer ||= setTimeout(tell, Math.max(GATHER, last + REST - Date.now()));
		};
		const take = (/** @type {any} */ e) => {
			if (waiting.length < 1000)
				waiting.push({ kind: e.type, data: JSON.parse(e.data) });
			plan();
		};
		const end = () => {
			clearTimeout(again);
			source?.close();
			source = null;
		};
		const begin = () => {
			end();
			source = new EventSource('/api/v1/events' + query(what));
			for (const kind of what.kinds.split(','))
				source.addEventListener(kind, take);
			source.addEventListener('missed', plan);
			// What happened between the page's questions and now came to nobody.
			source.onopen = plan;
			source.onerror = () => {
				if (source?.readyState === EventSource.CLOSED)
					again = setTimeout(begin, AGAIN);
			};
		};
		const look = () => {
			if (document.hidden)
				return end();
			begin();
		};
		if (!document.hidden)
			begin();
		document.addEventListener('visibilitychange', look);
		return () => {
			gone = true;
			document.removeEventListener('visibilitychange', look);
			clearTimeout(timer);
			end();
		};
	}, [what.kinds, what.device]);
}

/** Calls <load> when <turn> is another one: the call before is waited for, and what is shown stays until it has come. */
export function useAgain(/** @type {() => Promise<any>} */ load, /** @type {unknown} */ turn) {
	const state = useRef({ busy: false, due: false, first: true, load });
	state.current.load = load;
	useEffect(() => {
		const s = state.current;
		const run = async () => {
			s.due = s.busy;
			if (s.busy)
				return;
			s.busy = true;
			await s.load();
			s.busy = false;
			if (s.due)
				run();
		};
		if (!s.first)
			run();
		s.first = false;
	}, [turn]);
}
