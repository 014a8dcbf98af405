/*
 * passes.mjs check SECRET EVENT PASS - the claims of a pass as jose reads them, or why it is none
 * passes.mjs make SECRET ALG CLAIMS  - a JWT by jose
 */
import { jwtVerify, SignJWT } from 'jose';

const [verb, secret, ...rest] = process.argv.slice(2);
const key = new TextEncoder().encode(secret);
let answer;
if (verb === 'check') {
    const [event, pass] = rest;
    try {
        const { payload } = await jwtVerify(pass, key, { algorithms: ['HS256'], audience: event, requiredClaims: ['exp', 'sub', 'jti'] });
        answer = { claims: payload };
    } catch (error) {
        answer = { error: error.code };
    }
} else {
    const [alg, claims] = rest;
    answer = { token: await new SignJWT(JSON.parse(claims)).setProtectedHeader({ alg }).sign(key) };
}
console.log(JSON.stringify(answer));
