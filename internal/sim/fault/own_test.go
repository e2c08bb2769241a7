package fault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestOwnCallsAreLeftAlone(t *testing.T) {
	s := New(1)
	url, client, done := server(t, s)
	for _, r := range []Rule{{Effect: Effect{Status: 500}}, {Service: TLS, Effect: Effect{Certificate: "expired"}}} {
		if _, err := s.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	own := &http.Client{Transport: s.Own(&http.Transport{})}
	for _, c := range []struct {
		client *http.Client
		status int
		done   int64
		calls  int
	}{{own, 200, 1, 0}, {client, 500, 1, 1}} {
		res, err := c.client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status || done.Load() != c.done || len(s.Calls(Rule{}, 0)) != c.calls {
			t.Errorf("%d, done %d times, log %v; want %+v", res.StatusCode, done.Load(), s.Calls(Rule{}, 0), c)
		}
	}
	// One who has not the word is not the cloud.
	req, _ := http.NewRequest(http.MethodGet, url, nil)
	req.Header.Set(ownHeader, "")
	if res, err := client.Do(req); err != nil || res.StatusCode != 500 {
		t.Errorf("an empty word: %v, %v", res, err)
	}
}

func TestOwnHandshakesAreLeftAlone(t *testing.T) {
	s := New(1)
	if _, err := s.Add(Rule{Service: TLS, Effect: Effect{Certificate: "stranger"}}); err != nil {
		t.Fatal(err)
	}
	trust, address := tlsServer(t, s)
	own := s.Own(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}})
	res, err := (&http.Client{Transport: own}).Get(address)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if hits := s.List()[0].Hits; hits != 0 {
		t.Errorf("the rule acted %d times", hits)
	}
}

// tlsServer is a server under the rules of s whose certificate an authority
// signed that s has too.
func tlsServer(t *testing.T, s *Set) (*x509.CertPool, string) {
	t.Helper()
	a, err := stranger()
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AddCert(a.cert)
	s.SignWith(a.cert, a.key)
	h := httptest.NewUnstartedServer(http.NotFoundHandler())
	h.StartTLS() // for a certificate with the right names
	names := h.TLS.Certificates[0]
	h.Close()
	good, err := s.bad("", names)
	if err != nil {
		t.Fatal(err)
	}
	h = httptest.NewUnstartedServer(http.NotFoundHandler())
	l := tls.NewListener(h.Listener, s.TLSConfig(*good, VCD, "lab"))
	go func() { _ = http.Serve(l, http.NotFoundHandler()) }() //nolint:gosec // a test
	t.Cleanup(func() { _ = l.Close() })
	return trust, "https://" + l.Addr().String()
}

func TestOnlyOneThingIsWrongWithACertificate(t *testing.T) {
	s := New(1)
	trust, address := tlsServer(t, s)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}}}
	get := func() error {
		res, err := client.Get(address)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	if err := get(); err != nil {
		t.Fatalf("the right one: %v", err)
	}
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	for kind, is := range map[string]func(error) bool{
		"expired":   func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.Expired },
		"elsewhere": func(err error) bool { return errors.As(err, &host) },
		"stranger":  func(err error) bool { return errors.As(err, &unknown) },
	} {
		id, err := s.Add(Rule{Service: TLS, Effect: Effect{Certificate: kind}})
		if err != nil {
			t.Fatal(err)
		}
		if err := get(); !is(err) {
			t.Errorf("%s: got %v", kind, err)
		}
		if err := s.Clear(id); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUploadsAreCutAndSlowed(t *testing.T) {
	four, fourteen := int64(4), int64(14)
	for name, c := range map[string]struct {
		service, path string
		effect        Effect
		arrived       string
		cut           bool
		least         time.Duration
	}{
		"an upload is cut in the middle":            {NFC, "/", Effect{Reset: &four}, "0123", true, 0},
		"an upload to vCD too":                      {VCD, "/transfer/a/b", Effect{Reset: &four}, "0123", true, 0},
		"the request of another call is not":        {VCD, "/api", Effect{Reset: &fourteen}, "0123456789", false, 0},
		"what is left goes for the answer":          {Folder, "/", Effect{Reset: &fourteen}, "0123456789", true, 0},
		"an upload takes its time":                  {NFC, "/", Effect{Rate: 100}, "0123456789", false, 100 * time.Millisecond},
		"an upload is whole without such an effect": {NFC, "/", Effect{Delay: 1}, "0123456789", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, arrived := New(1), ""
			done := make(chan struct{})
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				s.Serve(w, r, &Call{Service: c.service}, nil, func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					arrived = string(body)
					_, _ = io.WriteString(w, "thanks")
				})
			}))
			defer h.Close()
			if _, err := s.Add(Rule{Effect: c.effect}); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			res, err := h.Client().Post(h.URL+c.path, "", strings.NewReader("0123456789"))
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			took := time.Since(start)
			<-done
			if arrived != c.arrived || (err != nil) != c.cut || took < c.least {
				t.Errorf("got %q, %v after %v; want %+v", arrived, err, took, c)
			}
		})
	}
}

func TestNamesThatVCDKnows(t *testing.T) {
	const uuid = "0f3c7a3e-98ee-4a5c-8a4a-0123456789ab"
	r := Rule{Object: "wiki01"}
	for name, want := range map[string]bool{
		"wiki01": true, "wiki01 (" + uuid + ")": true, "wiki01 (2)": false, "wiki01 (" + strings.Repeat("x", 36) + ")": false, "wiki011 (" + uuid + ")": false,
	} {
		if got := r.matches(&Call{Object: "vm-7", Name: name}); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestRulesThatCanNeverAct(t *testing.T) {
	s := New(1)
	tlsServer(t, s)
	s.Know(func(r Rule) error {
		if r.Operation == "no" {
			return errors.New("no such operation")
		}
		return nil
	})
	for want, r := range map[string]Rule{
		`server "nope": there are lab`: {Server: "nope"},
		"no such operation":            {Operation: "no"},
		`service "ftp"`:                {Service: "ftp"},
		"":                             {Server: "l*"},
	} {
		r.Status = 500
		if _, err := s.Add(r); (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %s", r, err, want)
		}
	}
}
