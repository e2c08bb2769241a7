package vcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const (
	password = "s3cr3t-pässword"
	vappUUID = "fe8d013d-dd2f-4ac6-9e8a-3a4a18e0a62e"
)

// A fakeSite answers login and versions, and leaves the rest to a test.
type fakeSite struct {
	*httptest.Server
	mux *http.ServeMux

	mu       sync.Mutex
	logins   int
	requests []string // method and URI of all but logins
	tokens   map[string]bool
}

func newFakeSite(t *testing.T) *fakeSite {
	t.Helper()
	f := &fakeSite{mux: http.NewServeMux(), tokens: make(map[string]bool)}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func (f *fakeSite) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/api/versions":
		fmt.Fprint(w, `<SupportedVersions xmlns="http://www.vmware.com/vcloud/versions">
			<VersionInfo deprecated="false"><Version>36.3</Version></VersionInfo>
			<VersionInfo><Version>39.1</Version></VersionInfo>
			<VersionInfo><Version>37.0</Version></VersionInfo>
			<VersionInfo><Version>40.0.0-alpha</Version></VersionInfo>
			<VersionInfo><Version>40.0</Version></VersionInfo></SupportedVersions>`)
		return
	case r.Method == http.MethodPost && r.URL.Path == "/cloudapi/1.0.0/sessions/provider":
		f.login(w, r, "backup@System", "System", "a93c9db9-7471-3192-8d09-a8f7eeda85f9")
		return
	case r.Method == http.MethodPost && r.URL.Path == "/cloudapi/1.0.0/sessions":
		f.login(w, r, "jo@acme", "acme", orgUUID)
		return
	}
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.RequestURI)
	ok := f.tokens[r.Header.Get("Authorization")]
	f.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	f.mux.ServeHTTP(w, r)
}

func (f *fakeSite) login(w http.ResponseWriter, r *http.Request, who, org, orgUUID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logins++
	user, pass, _ := r.BasicAuth()
	if user != who || pass != password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	token := fmt.Sprintf("token-%d", f.logins)
	f.tokens["Bearer "+token] = true
	w.Header().Set("X-VMWARE-VCLOUD-ACCESS-TOKEN", token)
	fmt.Fprintf(w, `{"id":"urn:vcloud:session:1b","org":{"name":"%s","id":"urn:vcloud:org:%s"}}`, org, orgUUID)
}

// expire ends all sessions.
func (f *fakeSite) expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.tokens)
}

func (f *fakeSite) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

func (f *fakeSite) loginCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logins
}

// xml makes a path answer with a document.
func (f *fakeSite) xml(pattern, body string) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { writeXML(w, body) })
}

// json makes a path answer with a document of OpenAPI.
func (f *fakeSite) json(pattern, body string) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, body) })
}

func writeJSON(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, body)
}

func writeXML(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/vnd.vmware.vcloud.any+xml;version=39.1")
	io.WriteString(w, body)
}

func writeError(w http.ResponseWriter, status int, minor, message string) {
	w.Header().Set("Content-Type", "application/vnd.vmware.vcloud.error+xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<Error xmlns="http://www.vmware.com/vcloud/v1.5" message="%s" majorErrorCode="%d" minorErrorCode="%s" stackTrace="at com.vmware"/>`,
		message, status, minor)
}

func (f *fakeSite) pin() string {
	sum := sha256.Sum256(f.Certificate().Raw)
	return hex.EncodeToString(sum[:])
}

func (f *fakeSite) options() Options {
	return Options{
		URL: f.URL, User: "backup@System", Password: password, TLS: TLS{Fingerprint: f.pin()},
		PollInterval: time.Millisecond, RetryTimeout: time.Second,
	}
}

func (f *fakeSite) connect(t *testing.T) *Client {
	t.Helper()
	c, err := Connect(t.Context(), f.options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.http.CloseIdleConnections() })
	return c
}

// logs makes a logger that a test can read.
func logs() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), &b
}

// recorded reads a document that a real server gave.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("VAPPVAULT_VCD_API")
	if dir == "" {
		t.Skip("VAPPVAULT_VCD_API is not set: no recorded documents")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "recorded", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func background(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
