// Package progress is how a long operation says how far it has come.
//
// It is one struct and one function type: whoever runs the operation decides
// whether the events become bars, log lines, database rows or nothing.
package progress

import "time"

// A Kind tells what an Event means.
type Kind string

// The kinds of events.
const (
	StepStart Kind = "start" // a named step of the procedure begins
	StepDone  Kind = "done"  // it ended; Err is set when it failed
	Bytes     Kind = "bytes" // Done of Total bytes of a disk are processed
	Warn      Kind = "warn"  // something the operator should know
	Info      Kind = "info"
)

// An Event is one thing that happened. Empty fields do not apply.
type Event struct {
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	Step string    `json:"step,omitempty"` // e.g. "enter maintenance mode"
	Org  string    `json:"org,omitempty"`
	VApp string    `json:"vapp,omitempty"`
	VM   string    `json:"vm,omitempty"`
	Disk string    `json:"disk,omitempty"`
	// What is processed where it is no single disk: "all disks", "restore
	// point 01J…".
	What  string `json:"what,omitempty"`
	Done  int64  `json:"done,omitempty"`  // bytes
	Total int64  `json:"total,omitempty"` // bytes
	// Of a disk that is copied: through which transport, bytes per second of
	// late, and how often something had to be tried again.
	Transport string `json:"transport,omitempty"`
	Rate      int64  `json:"rate,omitempty"`
	Retries   int    `json:"retries,omitempty"`
	Message   string `json:"message,omitempty"`
	Err       string `json:"error,omitempty"`
}

// A Func receives events, possibly from several goroutines at once. It must
// return quickly. A nil Func drops them.
type Func func(Event)

// Emit hands e to f, stamping the time where it is not set.
func (f Func) Emit(e Event) {
	if f == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	f(e)
}
