package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "anything", true},
		{"GET /api/query", "GET /api/query", true},
		{"GET /api/query", "GET /api/query/", false},
		{"*", "", true},
		{"POST /api/vApp/*/action/deploy", "POST /api/vApp/{id}/action/deploy", true},
		{"POST /api/vApp/*/action/deploy", "POST /api/vApp/{id}/action/undeploy", false},
		{"a*a", "a", false},
		{"a*b*c", "axbxc", true},
		{"a*b*c", "acb", false},
	} {
		if got := glob(c.pattern, c.text); got != c.want {
			t.Errorf("glob(%q, %q) = %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
}

func TestARuleActsOnTheCallsThatItCounts(t *testing.T) {
	s := New(1)
	if _, err := s.Add(Rule{Service: VCD, Operation: "GET *", Skip: 2, Count: 3, Effect: Effect{Status: 503}}); err != nil {
		t.Fatal(err)
	}
	var hit []int
	for i := range 10 {
		s.Match(Call{Service: VCD, Operation: "POST /api"}) // another one
		if s.Match(Call{Service: VCD, Operation: "GET /api"}) != nil {
			hit = append(hit, i)
		}
	}
	if want := []int{2, 3, 4}; !reflect.DeepEqual(hit, want) {
		t.Errorf("calls that were acted on: %v, want %v", hit, want)
	}
	if got := s.List()[0].Hits; got != 3 {
		t.Errorf("hits: %d, want 3", got)
	}
}

func TestDelaysAddUpAndDoNotShield(t *testing.T) {
	s := New(1)
	for _, e := range []Effect{{Delay: 1}, {Delay: 2}, {Status: 500}, {Status: 501}} {
		if _, err := s.Add(Rule{Effect: e}); err != nil {
			t.Fatal(err)
		}
	}
	if h := s.Match(Call{Service: VCD}); h == nil || h.Delay != 3 || h.Status != 500 {
		t.Errorf("got %+v, want the first refusal after a delay of 3", h)
	}
}

func TestProbabilityIsTheSameForTheSameSeed(t *testing.T) {
	draw := func() (out []bool) {
		s := New(7)
		if _, err := s.Add(Rule{Probability: 0.3, Effect: Effect{Status: 500}}); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			out = append(out, s.Match(Call{Service: VCD}) != nil)
		}
		return out
	}
	a, n := draw(), 0
	for _, hit := range a {
		if hit {
			n++
		}
	}
	if !reflect.DeepEqual(a, draw()) {
		t.Error("two sets with one seed differ")
	}
	if n < 200 || n > 400 {
		t.Errorf("%d of 1000 calls with probability 0.3", n)
	}
}

func TestRulesThatMakeNoSense(t *testing.T) {
	minus := int64(-1)
	for what, r := range map[string]Rule{
		"no effect":              {Service: VCD},
		"service \"ftp\"":        {Service: "ftp", Effect: Effect{Status: 500}},
		"status 200":             {Effect: Effect{Status: 200}},
		"probability 2":          {Probability: 2, Effect: Effect{Status: 500}},
		"outcome: only for":      {Service: VCD, Effect: Effect{Outcome: "error"}},
		"outcome \"lost\"":       {Service: VCDTask, Effect: Effect{Outcome: "lost"}},
		"certificate \"\": want": {Service: TLS, Effect: Effect{Delay: 1}},
		"certificate: only":      {Service: VCD, Effect: Effect{Certificate: "expired"}},
		"cannot be negative":     {Effect: Effect{Reset: &minus}},
		"drop and total":         {Service: NFC, Effect: Effect{Drop: 1}},
	} {
		if _, err := New(1).Add(r); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v: got %v, want %s", r, err, what)
		}
	}
	s := New(1)
	for i, want := range []bool{true, false} {
		if _, err := s.Add(Rule{ID: "x", Effect: Effect{Status: 500}}); (err == nil) != want {
			t.Errorf("rule x, time %d: %v", i+1, err)
		}
	}
	if s.Clear("y") == nil {
		t.Error("a rule that is not there was removed")
	}
}

func TestARuleSurvivesJSON(t *testing.T) {
	five := int64(5)
	want := Rule{ID: "a", Service: VCD, Skip: 1, Probability: 0.5, Effect: Effect{After: true, Delay: Duration(90 * time.Second), Reset: &five}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Rule
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestTheLogKeepsTheLastCalls(t *testing.T) {
	s := New(1)
	for range maxCalls + 10 {
		s.Record(Call{Service: VCD})
	}
	all := s.Calls(Rule{}, 0)
	if len(all) != maxCalls || all[0].N != 11 || all[maxCalls-1].N != maxCalls+10 {
		t.Errorf("%d calls, %d to %d", len(all), all[0].N, all[len(all)-1].N)
	}
	if got := len(s.Calls(Rule{Service: NFC}, 0)); got != 0 {
		t.Errorf("%d calls of another service", got)
	}
	if got := len(s.Calls(Rule{}, maxCalls+5)); got != 5 {
		t.Errorf("%d calls after the number, want 5", got)
	}
}

// server serves "0123456789" under the rules of s and counts what it did.
func server(t *testing.T, s *Set) (url string, client *http.Client, done *atomic.Int64) {
	done = new(atomic.Int64)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := Call{Service: VCD, Operation: r.Method}
		s.Serve(w, r, &c, func(w http.ResponseWriter, h *Hit) { http.Error(w, h.Message, h.Status) },
			func(w http.ResponseWriter, _ *http.Request) {
				done.Add(1)
				_, _ = io.WriteString(w, "0123456789")
			})
	}))
	t.Cleanup(h.Close)
	return h.URL, h.Client(), done
}

func TestEffectsOnTheWire(t *testing.T) {
	three, zero := int64(3), int64(0)
	for name, c := range map[string]struct {
		effect Effect
		status int
		body   string
		cut    bool // the connection ends early
		done   int64
	}{
		"a refusal does not do the work":         {Effect{Status: 503, Message: "busy", RetryAfter: Duration(1500 * time.Millisecond)}, 503, "busy\n", false, 0},
		"a late refusal does it":                 {Effect{Status: 503, Message: "busy", After: true}, 503, "busy\n", false, 1},
		"a delay changes nothing":                {Effect{Delay: Duration(time.Millisecond)}, 200, "0123456789", false, 1},
		"a late delay neither":                   {Effect{Delay: Duration(time.Millisecond), After: true}, 200, "0123456789", false, 1},
		"a reset in mid-body":                    {Effect{Reset: &three}, 200, "012", true, 1},
		"a reset before the answer does no work": {Effect{Reset: &zero}, 0, "", true, 0},
		"a late reset does the work":             {Effect{Reset: &zero, After: true}, 0, "", true, 1},
		"a slow answer is whole":                 {Effect{Rate: 1000}, 200, "0123456789", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(1)
			url, client, done := server(t, s)
			if _, err := s.Add(Rule{Effect: c.effect}); err != nil {
				t.Fatal(err)
			}
			// A POST, which Go's client does not repeat by itself.
			res, err := client.Post(url, "text/plain", nil)
			status, body := 0, []byte(nil)
			if err == nil {
				defer res.Body.Close()
				status = res.StatusCode
				body, err = io.ReadAll(res.Body)
				if want := c.effect.RetryAfter > 0; want != (res.Header.Get("Retry-After") == "2") {
					t.Errorf("Retry-After: %q", res.Header.Get("Retry-After"))
				}
			}
			if status != c.status || string(body) != c.body || (err != nil) != c.cut || done.Load() != c.done {
				t.Errorf("got %d %q, %v, done %d times; want %+v", status, body, err, done.Load(), c)
			}
		})
	}
}

func TestARemovedRuleLetsGo(t *testing.T) {
	s := New(1)
	url, client, _ := server(t, s)
	id, err := s.Add(Rule{Effect: Effect{Hang: true}})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		res, err := client.Get(url)
		if err != nil {
			got <- err.Error()
			return
		}
		defer res.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(res.Body)
		got <- b.String()
	}()
	for s.List()[0].Hits == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Clear(id); err != nil {
		t.Fatal(err)
	}
	if body := <-got; body != "0123456789" {
		t.Errorf("got %q", body)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Hit{Effect: Effect{Hang: true}}).Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
