// The frame: who is signed in, the menu, and the page that the address names.
import { render } from './vendor/preact.js';
import { useRoute, to } from './lib/route.js';
import * as session from './lib/session.js';
import { t } from './lib/text.js';
import { Empty, focusHeading, html, Name, Trouble, useEffect, useRef, useState } from './lib/ui.js';
import { pages as all } from './pages/index.js';
import { Enter, SignIn } from './pages/signin.js';

const themes = ['auto', 'light', 'dark'];

function useTheme() {
	const [theme, set] = useState(() => localStorage.getItem('theme') ?? 'auto');
	useEffect(() => {
		document.documentElement.dataset.theme = theme;
		localStorage.setItem('theme', theme);
	}, [theme]);
	return { theme, next: () => set(themes[(themes.indexOf(theme) + 1) % themes.length]) };
}

function Menu({ at, pages }) {
	const list = useRef(null);
	// On a phone the menu is one line that goes on to the right.
	useEffect(() => {
		const show = () => list.current.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
		show();
		addEventListener('resize', show);
		return () => removeEventListener('resize', show);
	}, [at]);
	return html`<nav aria-label=${t('menu')}><ul ref=${list}>${pages.filter((p) => !p.under).map((p) => html`<li key=${p.name}>
		<a href=${to(p.name)} aria-current=${p === at ? 'page' : p.name === at?.under ? 'true' : undefined}>${t('page.' + p.name)}</a></li>`)}</ul></nav>`;
}

/** The focus goes to the heading of what has just been opened, as soon as it is there, so that who hears the page hears where it is. */
function hear(/** @type {HTMLElement | null} */ main) {
	main?.focus({ preventScroll: true });
	const there = () => {
		if (document.activeElement !== main || focusHeading())
			watch.disconnect();
	};
	const watch = new MutationObserver(there);
	if (main)
		watch.observe(main, { childList: true, subtree: true });
	there();
	return () => watch.disconnect();
}

function Who({ me, bare, acting }) {
	if (bare)
		return html`<span class="who">${me.name ? html`<${Name} value=${me.name} />` : t('bare.nobody')} <span class="dim">${t('bare.at', { host: location.host })}</span></span>`;
	return html`<span class="who"><${Name} value=${me.name.replace(/^\w+:/, '')} /> <span class="dim">${t('in-tenant', { tenant: me.tenant })}</span>
		${acting && html` <span class="badge warn acting">${t('acting', { tenant: acting })} <button type="button" class="quiet" onClick=${() => session.act('')}>${t('acting-end')}</button></span>`}</span>`;
}

function Frame({ me, bare, acting }) {
	const route = useRoute(), look = useTheme();
	const pages = bare ? all.filter((p) => p.bare) : all;
	const at = route.parts.length === 0 ? pages[0] : pages.find((p) => p.name === route.parts[0]);
	useEffect(() => {
		document.title = `${at ? t('page.' + at.name) + ' – ' : ''}Signet`;
		scrollTo(0, 0);
		return hear(document.getElementById('main'));
	}, [route.parts.join('/')]);
	return html`<a class="skip" href="#main" onClick=${(e) => (e.preventDefault(), document.getElementById('main')?.focus())}>${t('skip')}</a>
		<header class="top"><a class="brand" href="#/"><img src="icon.svg" alt="" width="24" height="24" /> Signet</a>
		<${Who} me=${me} bare=${bare} acting=${acting} />
		<button type="button" class="quiet" onClick=${look.next}>${t('theme.' + look.theme)}</button>
		<button type="button" class="quiet" onClick=${session.signOut}>${t('sign-out')}</button></header>
		<${Menu} at=${at} pages=${pages} />
		<main id="main" tabindex="-1">${at && html`<${at.page} key=${at.name + '/' + acting} route=${route} me=${me} acting=${acting} bare=${bare} />`}
			${!at && html`<h1>${t('nowhere')}</h1><${Empty} title=${t('nowhere-title')}>${t('nowhere-help')} <a href="#/">${t('page.' + pages[0].name)}</a><//>`}</main>`;
}

function App() {
	const [state, set] = useState({ me: null, lost: false, mode: null, acting: '', asked: false, error: null });
	const begin = () => session.begin().then((s) => set({ ...s, asked: true, error: null }), (error) => set({ me: null, lost: false, mode: null, acting: '', asked: true, error }));
	useEffect(() => {
		const stop = session.watch((s) => set((old) => ({ ...old, ...s })));
		begin();
		return stop;
	}, []);
	if (!state.asked)
		return null;
	if (state.error)
		return html`<main class="lone"><div class="card"><h1>Signet</h1><${Trouble} error=${state.error} again=${begin} /></div></main>`;
	const bare = state.mode.on === 'broker';
	if (state.me)
		return html`<${Frame} me=${state.me} bare=${bare} acting=${state.acting} />`;
	return bare ? html`<${Enter} mode=${state.mode} />` : html`<${SignIn} lost=${state.lost} />`;
}

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById('app')));
