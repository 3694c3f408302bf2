// The suites of test/unit/auth, in workerd: another WebCrypto, and another idea of what a request may wait for.
import "../unit/auth/issuer-keys.test.ts";
import "../unit/auth/token-battery.test.ts";
