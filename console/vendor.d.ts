// What stands under vendor/ when the console is served, for the type checker.
declare module '*/vendor/preact.js' { export * from 'preact'; }
declare module '*/vendor/hooks.js' { export * from 'preact/hooks'; }
declare module '*/vendor/htm.js' { const htm: { bind(h: unknown): (strings: TemplateStringsArray, ...values: any[]) => any }; export default htm; }
declare module '*/vendor/mqtt.js' { const mqtt: any; export default mqtt; }
declare module '*/vendor/uplot.js' { const uPlot: any; export default uPlot; }
