package fault

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"net/http"
)

// ownHeader says that a call is the cloud's own.
const ownHeader = "X-Vcdsim-Own"

// Own makes calls through t ones that no rule acts on and that the log leaves
// out, their handshakes too: what a test's own commands do is not what it
// tests. A word that only this process knows marks them. t is not to be used
// otherwise.
func (s *Set) Own(t *http.Transport) http.RoundTripper {
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.NextProtos = []string{"http/1.1", s.own}
	return ownTransport{t, s.own}
}

type ownTransport struct {
	http.RoundTripper
	word string
}

// RoundTrip sends a request with the mark.
func (t ownTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(ownHeader, t.word)
	return t.RoundTripper.RoundTrip(r)
}

func (s *Set) owns(r *http.Request) bool {
	return subtle.ConstantTimeCompare([]byte(r.Header.Get(ownHeader)), []byte(s.own)) == 1
}

type ownKey struct{}

// IsOwn tells whether a context is that of a call through Own.
func IsOwn(ctx context.Context) bool { return ctx.Value(ownKey{}) != nil }

// WithOwn makes a context that of a call through Own where from is one, for
// work that outlives the call.
func WithOwn(ctx, from context.Context) context.Context {
	if !IsOwn(from) {
		return ctx
	}
	return context.WithValue(ctx, ownKey{}, true)
}
