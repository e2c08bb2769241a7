package vcd

import (
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestConnectTakesTheHighestKnownVersion(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	c := f.connect(t)
	if got := c.APIVersion(); got != "39.1" {
		t.Errorf("APIVersion() = %s, want 39.1", got)
	}
	o := f.options()
	o.APIVersion = "37.0"
	if c = must[*Client](t)(Connect(t.Context(), o)); c.APIVersion() != "37.0" {
		t.Errorf("asked for 37.0, APIVersion() = %s", c.APIVersion())
	}
	o.APIVersion = "38.1"
	if _, err := Connect(t.Context(), o); err == nil || !strings.Contains(err.Error(), "does not speak 38.1, only 36.3, 39.1, 37.0") {
		t.Errorf("asked for 38.1: %v", err)
	}
}

func TestConnectRefusesAServerOfOtherVersions(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeXML(w, `<SupportedVersions><VersionInfo><Version>30.0</Version></VersionInfo></SupportedVersions>`)
	})
	_, err := Connect(t.Context(), f.options())
	if err == nil || !strings.Contains(err.Error(), "speaks 30.0; 37.0 to 39.1 are known here") {
		t.Errorf("Connect() = %v", err)
	}
}

func TestATenantSeesTheirOwnOrg(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("/api/query", func(w http.ResponseWriter, r *http.Request) {
		record := `<VAppRecord name="web" href="https://h/api/vApp/vapp-` + vappUUID + `"/>`
		switch r.URL.Query().Get("type") {
		case "vApp":
		default:
			t.Errorf("asked for %s", r.URL)
		}
		writeXML(w, `<QueryResultRecords total="1" pageSize="128" page="1">`+record+`</QueryResultRecords>`)
	})
	o := f.options()
	o.User = "jo@acme"
	c := must[*Client](t)(Connect(t.Context(), o))
	got := must[[]VAppRef](t)(c.VApps(t.Context(), ""))
	if c.Provider() || len(got) != 1 || got[0].OrgID != "urn:vcloud:org:"+orgUUID || got[0].OrgName != "acme" {
		t.Errorf("VApps() = %+v", got)
	}
}

func TestWrongPasswordIsNamedButNotShown(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	o := f.options()
	o.Password = "wr0ng-one"
	logger, written := logs()
	o.Logger = logger
	_, err := Connect(t.Context(), o)
	if !errors.Is(err, ErrLogin) {
		t.Fatalf("Connect() = %v, want ErrLogin", err)
	}
	for _, want := range []string{f.URL, "backup@System"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	if all := err.Error() + written.String(); strings.Contains(all, "wr0ng-one") {
		t.Errorf("the password is shown: %s", all)
	}
}

func TestExpiredSessionIsRenewedOnceForAll(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.xml("/api/thing", `<Thing/>`)
	c := f.connect(t)
	f.expire()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Get(t.Context(), "/api/thing"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := f.loginCount(); got != 2 {
		t.Errorf("%d logins, want 2: the first and one renewal", got)
	}
}

func TestSecond401IsFinal(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("/api/thing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	c := f.connect(t)
	_, err := c.Get(t.Context(), "/api/thing")
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
		t.Errorf("Get() = %v, want HTTP 401", err)
	}
	if got := len(f.seen()); got != 2 || f.loginCount() != 2 {
		t.Errorf("%d requests and %d logins, want 2 and 2", got, f.loginCount())
	}
}

func TestAPasswordThatNoLongerHoldsIsTriedOnce(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	c := f.connect(t)
	c.password = "changed meanwhile"
	f.expire()
	for range 3 {
		if _, err := c.Get(t.Context(), "/api/thing"); !errors.Is(err, ErrLogin) {
			t.Errorf("Get() = %v, want ErrLogin", err)
		}
	}
	if got := f.loginCount(); got != 2 {
		t.Errorf("%d logins, want 2: more would lock the account", got)
	}
}

func TestCloseEndsTheSession(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("DELETE /cloudapi/1.0.0/sessions/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	c := f.connect(t)
	for range 2 {
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Get(t.Context(), "/api/thing"); !errors.Is(err, errClosed) || f.loginCount() != 1 {
		t.Errorf("a closed session is opened again: %v", err)
	}
	want := "DELETE /cloudapi/1.0.0/sessions/urn:vcloud:session:1b"
	if got := f.seen(); len(got) != 2 || got[0] != want {
		t.Errorf("requests %q, want first %q", got, want)
	}
}

func TestSessionStaysOnItsSite(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.xml("/api/thing", `<Thing/>`)
	f.mux.HandleFunc("/api/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.invalid/api/thing", http.StatusFound)
	})
	c := f.connect(t)
	if _, err := c.Get(t.Context(), "https://elsewhere.invalid/api/thing"); err != nil {
		t.Errorf("an href of another host is asked for there: %v", err)
	}
	var e *Error
	if _, err := c.Get(t.Context(), "/api/moved"); !errors.As(err, &e) || e.Status != http.StatusFound {
		t.Errorf("a redirect is followed: %v", err)
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.xml("/api/thing", `<Thing/>`)
	o := f.options()
	logger, written := logs()
	o.Logger = logger
	c := must[*Client](t)(Connect(t.Context(), o))
	must[*Document](t)(c.Get(t.Context(), "/api/thing"))
	if !strings.Contains(written.String(), "/api/thing") {
		t.Error("nothing is logged")
	}
	for _, secret := range []string{password, "token-1", "Basic"} {
		if strings.Contains(written.String(), secret) {
			t.Errorf("%q is logged:\n%s", secret, written)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"plain HTTP":            {URL: "http://vcd.example", User: "a@b"},
		"a path":                {URL: "https://vcd.example/cloud", User: "a@b"},
		"a user without an org": {URL: "https://vcd.example", User: "admin"},
		"half a fingerprint":    {URL: "https://vcd.example", User: "a@b", TLS: TLS{Fingerprint: "AB:CD"}},
		"a missing CA file":     {URL: "https://vcd.example", User: "a@b", TLS: TLS{CAFile: "/nonexistent"}},
	} {
		if _, err := newClient(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	c, err := newClient(Options{URL: "https://vcd.example/api/", User: "jo@corp.example@acme"})
	if err != nil || c.user != "jo@corp.example" || c.org != "acme" || c.SiteURL() != "https://vcd.example" || c.Provider() {
		t.Errorf("newClient() = %+v, %v", c, err)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Repeat("ab", 32)
	for _, test := range []struct {
		name string
		tls  TLS
		ok   bool
	}{
		{"an unknown authority is refused", TLS{}, false},
		{"the pinned certificate is taken", TLS{Fingerprint: f.pin()}, true},
		{"colons and capitals do no harm", TLS{Fingerprint: fingerprint(f.Certificate())}, true},
		{"another certificate than the pinned one is refused", TLS{Fingerprint: wrong}, false},
		{"the CA file's authority is taken", TLS{CAFile: ca}, true},
		{"with both, both must agree", TLS{CAFile: ca, Fingerprint: wrong}, false},
	} {
		o := f.options()
		o.TLS = test.tls
		_, err := Connect(t.Context(), o)
		if test.ok {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		var untrusted *CertificateError
		if !errors.As(err, &untrusted) {
			t.Errorf("%s: %v, want a CertificateError", test.name, err)
			continue
		}
		for _, want := range []string{"untrusted certificate", fingerprint(f.Certificate()), f.Listener.Addr().String()} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %s", test.name, err, want)
			}
		}
	}
}
