package fault

import (
	"context"
	secret "crypto/rand"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Call is one call that a server got.
type Call struct {
	N         int64     `json:"n"` // counts from 1
	Time      time.Time `json:"time"`
	Service   string    `json:"service"`
	Server    string    `json:"server"`
	Operation string    `json:"operation"`
	Object    string    `json:"object"`         // path, moref or id
	Name      string    `json:"name,omitempty"` // of the object, where it has one
	User      string    `json:"user,omitempty"`
	Status    int       `json:"status,omitempty"` // of HTTP; 0 where no answer was given
	Bytes     int64     `json:"bytes,omitempty"`  // of the answer's body
	Offset    int64     `json:"offset,omitempty"` // disk: first byte of a read or write
	Length    int64     `json:"length,omitempty"` // and how many
	Took      Duration  `json:"took,omitempty"`
	Rule      string    `json:"rule,omitempty"` // that acted on it
}

// maxCalls is how many calls a set remembers.
const maxCalls = 1 << 16

// A Set is the rules and the log of a cloud. A nil set has no rules and
// remembers nothing. Its methods may be called concurrently.
type Set struct {
	mu    sync.Mutex
	rules []*rule
	ids   int
	seq   int64
	calls []Call // the last ones; a ring once it is full
	dice  *rand.Rand

	own       string // marks the calls of Own
	authority *authority
	servers   []string // those that there are, once they have been started
	known     func(Rule) error
}

type rule struct {
	Rule
	seen int // matching calls
	gone chan struct{}
}

// New makes an empty set. What has a probability is drawn from seed, so that
// the same calls in the same order meet the same fate.
func New(seed uint64) *Set {
	return &Set{dice: rand.New(rand.NewPCG(seed, seed)), own: secret.Text()} //nolint:gosec // the dice are not for secrets
}

// Know sets what looks at the names in a rule that this package knows nothing
// of: an error refuses the rule.
func (s *Set) Know(check func(Rule) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = check
}

// Check tells why the patterns of a rule can match nothing.
func (s *Set) Check(r Rule) error {
	if r.Service != "" && !slices.Contains(services, r.Service) {
		return fmt.Errorf("service %q: want one of %s", r.Service, strings.Join(services, ", "))
	}
	s.mu.Lock()
	known, servers := s.known, slices.Sorted(slices.Values(s.servers))
	s.mu.Unlock()
	if len(servers) > 0 && !slices.ContainsFunc(servers, func(name string) bool { return glob(r.Server, name) }) {
		return fmt.Errorf("server %q: there are %s", r.Server, strings.Join(servers, ", "))
	}
	if known == nil {
		return nil
	}
	return known(r)
}

// Add puts a rule behind the others and returns its id, made when the rule has
// none.
func (s *Set) Add(r Rule) (string, error) {
	err := r.check()
	if err == nil {
		err = s.Check(r)
	}
	if err != nil {
		return "", fmt.Errorf("fault: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ID == "" {
		s.ids++
		r.ID = strconv.Itoa(s.ids)
	}
	if slices.ContainsFunc(s.rules, func(o *rule) bool { return o.ID == r.ID }) {
		return "", fmt.Errorf("fault: there is a rule %s", r.ID)
	}
	r.Hits = 0
	s.rules = append(s.rules, &rule{Rule: r, gone: make(chan struct{})})
	return r.ID, nil
}

// List is the rules, in the order in which they are tried.
func (s *Set) List() []Rule {
	out := []Rule{}
	if s == nil {
		return out
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		out = append(out, r.Rule)
	}
	return out
}

// Clear removes the rules with those ids, all of them without any. What they
// hold goes on.
func (s *Set) Clear(ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if !slices.ContainsFunc(s.rules, func(r *rule) bool { return r.ID == id }) {
			return fmt.Errorf("fault: no rule %s", id)
		}
	}
	s.rules = slices.DeleteFunc(s.rules, func(r *rule) bool {
		if len(ids) > 0 && !slices.Contains(ids, r.ID) {
			return false
		}
		close(r.gone)
		return true
	})
	return nil
}

// A Hit is a rule that acts on a call.
type Hit struct {
	ID string
	Effect
	gone chan struct{}
}

// Match is the rule that acts on a call, nil without one. A rule's count is
// used up by it. Rules that only delay add up, and others act behind them: a
// latency for all calls does not shield them.
func (s *Set) Match(c Call) *Hit {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var slow *Hit
	for _, r := range s.rules {
		if !r.matches(&c) || r.Count > 0 && r.Hits >= r.Count {
			continue
		}
		r.seen++
		if r.seen <= r.Skip || r.Probability > 0 && s.dice.Float64() >= r.Probability {
			continue
		}
		r.Hits++
		h := &Hit{r.ID, r.Effect, r.gone}
		if slow != nil {
			h.Delay += slow.Delay
		}
		if r.Effect != (Effect{Delay: r.Delay}) {
			return h
		}
		slow = h
	}
	return slow
}

// Wait spends the time that the effect takes: its delay, and for ever where it
// hangs, until the rule is removed or ctx ends, whose error it returns.
func (h *Hit) Wait(ctx context.Context) error {
	if h == nil {
		return nil
	}
	var timer <-chan time.Time
	if h.Delay > 0 && !h.Hang {
		t := time.NewTimer(time.Duration(h.Delay))
		defer t.Stop()
		timer = t.C
	} else if !h.Hang {
		return nil
	}
	select {
	case <-timer:
	case <-h.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Record remembers a call that is over.
func (s *Set) Record(c Call) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	c.N = s.seq
	if len(s.calls) < maxCalls {
		s.calls = append(s.calls, c)
		return
	}
	s.calls[(s.seq-1)%maxCalls] = c
}

// Calls are the calls after number n that match the patterns of r, the oldest
// first. The log has the last 65,536.
func (s *Set) Calls(r Rule, n int64) []Call {
	out := []Call{}
	if s == nil {
		return out
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	start := 0
	if len(s.calls) == maxCalls {
		start = int(s.seq % maxCalls)
	}
	for i := range s.calls {
		c := &s.calls[(start+i)%len(s.calls)]
		if c.N > n && r.matches(c) {
			out = append(out, *c)
		}
	}
	return out
}

// Forget empties the log. Numbers go on.
func (s *Set) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}
