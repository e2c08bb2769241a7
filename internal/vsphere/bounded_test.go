package vsphere

import (
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAnswersAreBounded(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		length     int
		whole      bool
	}{
		{"as large as allowed", "text/xml; charset=utf-8", 1000, true},
		{"larger", "text/xml; charset=utf-8", 1001, false},
		{"a file", "application/octet-stream", 5000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				_, _ = io.WriteString(w, strings.Repeat("x", c.length))
			}))
			defer server.Close()
			client := http.Client{Transport: bounded{RoundTripper: http.DefaultTransport, most: 1000}}
			res, err := client.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if c.whole && (err != nil || len(got) != c.length) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if !c.whole && !errors.Is(err, errTooLarge) {
				t.Errorf("got %d bytes, %v; want %v", len(got), err, errTooLarge)
			}
		})
	}
}

// TestAServerThatNeverEndsItsAnswerIsLeft connects to what answers for ever.
func TestAServerThatNeverEndsItsAnswerIsLeft(t *testing.T) {
	defer func(was int64) { maxAnswer = was }(maxAnswer)
	maxAnswer = 8 << 20
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		_, err := io.WriteString(w, `<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><RetrieveServiceContentResponse xmlns="urn:vim25"><returnval><about><name>`)
		for piece := strings.Repeat("vCenter ", 128<<10); err == nil; {
			_, err = io.WriteString(w, piece)
		}
	}))
	defer server.Close()
	sum := Fingerprint(sha256Of(server))
	done := make(chan error, 1)
	go func() {
		c, err := Connect(t.Context(), Options{URL: server.URL, User: "u", Password: "p", TLS: TLS{Fingerprint: sum}})
		if err == nil {
			_ = c.Close(t.Context())
		}
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, errTooLarge) && (err == nil || !strings.Contains(err.Error(), errTooLarge.Error())) {
			t.Errorf("got %v, want %v", err, errTooLarge)
		}
	case <-time.After(5 * time.Minute):
		t.Fatal("still reading")
	}
}

func sha256Of(s *httptest.Server) [32]byte { return sha256.Sum256(s.Certificate().Raw) }
