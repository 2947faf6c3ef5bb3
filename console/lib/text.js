// Texts by their keys. Another language is another file beside texts/en.js.
import { language, texts } from '../texts/en.js';

/** Of the texts, and so of numbers and times between them. */
export { language };

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values] what stands for {name} in the text
 */
export function t(key, values = {}) {
	const text = texts[key];
	if (text === undefined)
		return key;
	return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}
