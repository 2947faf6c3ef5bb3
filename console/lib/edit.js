// Changing what others may be changing, too: a form about what it is now, which is not sent over what somebody else has made of it meanwhile.
import { get } from './api.js';
import { Dialog, html, Trouble, useLoad, useState } from './ui.js';

/**
 * @param {{ path: string, title: string, onClose: () => void, children: (now: any, again: () => void) => any }} what children: the dialogue about
 *     what stands at <path>, whose call() gets it as <seen>; <again> reads it once more, and the dialogue begins anew
 */
export function Fresh({ path, title, onClose, children }) {
	const [turn, set] = useState(0), { data, error, load } = useLoad(() => get(path), `${path} ${turn}`);
	if (error)
		return html`<${Dialog} title=${title} onClose=${onClose}><${Trouble} error=${error} again=${load} /><//>`;
	return data && children(data, () => set(turn + 1));
}
