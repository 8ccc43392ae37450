declare module 'swagger-ui-dist/swagger-ui-es-bundle.js' {
  const bundle: unknown;
  export default bundle;
}
