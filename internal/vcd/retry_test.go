package vcd

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// breakConnection drops the client without an answer.
func breakConnection(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func TestRetries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, method string
		trouble      func(http.ResponseWriter)
		again        bool
	}{
		{"a busy entity is waited for", "POST", func(w http.ResponseWriter) { writeError(w, 400, "BUSY_ENTITY", "busy") }, true},
		{"another bad request is final", "POST", func(w http.ResponseWriter) { writeError(w, 400, "BAD_REQUEST", "bad") }, false},
		{"too many requests are slowed down", "POST", func(w http.ResponseWriter) { w.WriteHeader(429) }, true},
		{"503 with Retry-After was not begun", "POST", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(503)
		}, true},
		{"503 without it may have been", "POST", func(w http.ResponseWriter) { w.WriteHeader(503) }, false},
		{"503 does a GET no harm", "GET", func(w http.ResponseWriter) { w.WriteHeader(503) }, true},
		{"a gateway's error does a PUT no harm", "PUT", func(w http.ResponseWriter) { w.WriteHeader(502) }, true},
		{"a gateway's error may hide a POST's success", "POST", func(w http.ResponseWriter) { w.WriteHeader(504) }, false},
		{"a broken connection does a GET no harm", "GET", breakConnection, true},
		{"a broken connection does a DELETE no harm", "DELETE", breakConnection, true},
		{"a broken connection may hide a POST's success", "POST", breakConnection, false},
		{"a server's own fault is final", "GET", func(w http.ResponseWriter) { writeError(w, 500, "INTERNAL_SERVER_ERROR", "oops") }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFakeSite(t)
			var n atomic.Int32
			f.mux.HandleFunc("/api/thing", func(w http.ResponseWriter, _ *http.Request) {
				if n.Add(1) == 1 {
					test.trouble(w)
					return
				}
				w.WriteHeader(204)
			})
			_, err := f.connect(t).Do(t.Context(), Request{Method: test.method, Href: "/api/thing", Body: []byte("<x/>")})
			if again := n.Load() == 2; again != test.again || (err == nil) != test.again {
				t.Errorf("%d requests, error %v", n.Load(), err)
			}
		})
	}
}

func TestABusyEntityIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("/api/thing", func(w http.ResponseWriter, _ *http.Request) { writeError(w, 400, "BUSY_ENTITY", "still") })
	f.mux.HandleFunc("/api/later", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(503)
	})
	o := f.options()
	o.RetryTimeout = 100 * time.Millisecond
	c := must[*Client](t)(Connect(t.Context(), o))
	began := time.Now()
	if _, err := c.Get(t.Context(), "/api/thing"); !IsBusy(err) {
		t.Errorf("Get() = %v, want BUSY_ENTITY", err)
	}
	if _, err := c.Get(t.Context(), "/api/later"); err == nil {
		t.Error("an hour passed unnoticed")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("/api/thing", func(w http.ResponseWriter, _ *http.Request) { writeError(w, 400, "BUSY_ENTITY", "busy") })
	o := f.options()
	o.RetryTimeout = time.Hour
	c := must[*Client](t)(Connect(t.Context(), o))
	if _, err := c.Get(background(t, 50*time.Millisecond), "/api/thing"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get() = %v, want the context's error", err)
	}
}

func TestErrorsSayWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("/api/xml", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, 403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "[ 1 ] No access to entity &quot;vapp&quot;.&#10;Really")
	})
	f.mux.HandleFunc("/api/rights", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, 403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "you need some rights or the target entity is invalid")
	})
	f.mux.HandleFunc("/api/gone", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, 403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "The VMware Cloud Director entity vapp:1 does not exist.")
	})
	f.mux.HandleFunc("/cloudapi/json", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(404)
		w.Write([]byte(`{"minorErrorCode":"NOT_FOUND","message":"no such thing","stackTrace":"at com"}`))
	})
	f.mux.HandleFunc("/api/html", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		w.Write([]byte("<html><body><br>proxy</body></html>"))
	})
	c := f.connect(t)
	for _, test := range []struct {
		path, want          string
		notFound, forbidden bool
	}{
		{"/api/xml", `GET /api/xml: HTTP 403 ACCESS_TO_RESOURCE_IS_FORBIDDEN: [ 1 ] No access to entity "vapp". Really`, true, true},
		{"/api/rights", "GET /api/rights: HTTP 403 ACCESS_TO_RESOURCE_IS_FORBIDDEN: you need some rights or the target entity is invalid", false, true},
		{"/api/gone", "GET /api/gone: HTTP 403 ACCESS_TO_RESOURCE_IS_FORBIDDEN: The VMware Cloud Director entity vapp:1 does not exist.", true, true},
		{"/cloudapi/json", "GET /cloudapi/json: HTTP 404 NOT_FOUND: no such thing", true, false},
		{"/api/html", "GET /api/html: HTTP 500: Internal Server Error", false, false},
	} {
		_, err := c.Get(t.Context(), test.path)
		if err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
		if IsNotFound(err) != test.notFound || IsForbidden(err) != test.forbidden {
			t.Errorf("%s: not found %t, forbidden %t", test.path, IsNotFound(err), IsForbidden(err))
		}
	}
}

func TestAnEndlessAnswerIsRefused(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("/api/huge", func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 65 {
			w.Write(chunk)
		}
	})
	if _, err := f.connect(t).Get(t.Context(), "/api/huge"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Get() = %v, want ErrTooLarge", err)
	}
}
