// Package fault makes calls to a simulated cloud go wrong on demand, and
// remembers every call.
//
// A Set holds rules, the first of which that matches a call acts on it, and
// the log of calls. Servers ask the set about each call; whoever tests adds
// rules and reads the log. It promises that a rule acts on exactly the calls
// that it counts, that a removed rule lets go of what it holds, and that a
// set without rules changes nothing. What an effect looks like on the wire is
// the server's affair.
package fault

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The services that calls are made to.
const (
	VCD         = "vcd"          // vCD's HTTP calls; the operation is "METHOD /path/{id}"
	VCDTask     = "vcd-task"     // vCD's tasks; the operation is the task's name, such as vappDeploy
	VSphere     = "vsphere"      // SOAP calls; the operation is the method, such as CreateSnapshotEx_Task
	VSphereTask = "vsphere-task" // vCenter's tasks; the operation is the method that began it
	NFC         = "nfc"          // transfers of a lease; the operation is the HTTP method
	Folder      = "folder"       // files of datastores; the operation is the HTTP method
	Disk        = "disk"         // calls of VDDK to a host; the operation is its function, such as Open or Read
	TLS         = "tls"          // handshakes of all servers; the operation is the service
)

var services = []string{VCD, VCDTask, VSphere, VSphereTask, NFC, Folder, Disk, TLS}

// A Rule acts on the calls that match all of its patterns. In a pattern *
// stands for anything, and an empty one matches everything. Case counts.
type Rule struct {
	ID        string `json:"id"`
	Service   string `json:"service,omitempty"`
	Server    string `json:"server,omitempty"`    // SITE, SITE/VCENTER or SITE/VCENTER/HOST
	Operation string `json:"operation,omitempty"` // as Call.Operation
	Object    string `json:"object,omitempty"`    // as Call.Object or Call.Name; of a VM vCD's name or vCenter's, "NAME (UUID)"
	User      string `json:"user,omitempty"`

	// Offset and Length are bytes of a disk: without a length all of it.
	// Only calls of VDDK that touch them match.
	Offset int64 `json:"offset,omitempty"`
	Length int64 `json:"length,omitempty"`

	Skip        int     `json:"skip,omitempty"`        // so many matching calls pass first
	Count       int     `json:"count,omitempty"`       // so many are acted on; 0: all
	Probability float64 `json:"probability,omitempty"` // of acting on one; 0: always

	Effect `json:"effect"`

	Hits int `json:"hits"` // calls that it acted on so far
}

// An Effect is what happens to a call. Several may be joined: a delay, then a
// refusal.
type Effect struct {
	// After lets the call do its work; only the caller does not learn of it.
	After bool `json:"after,omitempty"`

	Delay Duration `json:"delay,omitempty"`
	Hang  bool     `json:"hang,omitempty"` // no answer until the rule is removed or the caller leaves

	Status     int      `json:"status,omitempty"`     // HTTP status of a refusal
	Code       string   `json:"code,omitempty"`       // vCD: minorErrorCode; vSphere: the fault's type, such as NoPermission; disk: VDDK's number
	Message    string   `json:"message,omitempty"`    // of a refusal
	RetryAfter Duration `json:"retryAfter,omitempty"` // header of a refusal
	Logout     bool     `json:"logout,omitempty"`     // the caller's session ends first

	// Bytes are those of the answer; of an upload (over NFC, /folder,
	// /transfer) those of the request's body, then of the answer.
	Reset *int64 `json:"reset,omitempty"` // the connection is reset after so many bytes
	Rate  int64  `json:"rate,omitempty"`  // bytes in a second

	Outcome string `json:"outcome,omitempty"` // of a task: error, canceled, aborted

	Drop  int `json:"drop,omitempty"`  // vCD: records left out of the end of a query's page
	Total int `json:"total,omitempty"` // vCD: added to a query's total

	Certificate string `json:"certificate,omitempty"` // tls: expired, stranger, elsewhere

	Crash    string `json:"crash,omitempty"`    // disk: VDDK dies with its process: SIGSEGV, SIGABRT
	Capacity int64  `json:"capacity,omitempty"` // disk: that an Open tells, in bytes
}

// Duration is a time.Duration that JSON has as text, "1m30s".
type Duration time.Duration

// MarshalJSON writes the text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads the text.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	v, err := time.ParseDuration(text)
	*d = Duration(v)
	return err
}

// Refuses tells whether the caller gets an error in the place of an answer.
func (e *Effect) Refuses() bool { return e.Status != 0 || e.Code != "" || e.Logout }

// check tells what is wrong with a rule.
func (r *Rule) check() error {
	e := &r.Effect
	task := r.Service == VCDTask || r.Service == VSphereTask
	switch {
	case r.Skip < 0 || r.Count < 0:
		return fmt.Errorf("skip and count cannot be negative")
	case r.Probability < 0 || r.Probability > 1:
		return fmt.Errorf("probability %v: want 0 to 1", r.Probability)
	case e.Delay < 0 || e.RetryAfter < 0 || e.Rate < 0 || e.Reset != nil && *e.Reset < 0:
		return fmt.Errorf("delay, retryAfter, rate and reset cannot be negative")
	case e.Status != 0 && (e.Status < 400 || e.Status > 599):
		return fmt.Errorf("status %d: a refusal has 400 to 599", e.Status)
	case e.Outcome != "" && !task:
		return fmt.Errorf("outcome: only for %s and %s", VCDTask, VSphereTask)
	case e.Outcome != "" && !slices.Contains([]string{"error", "canceled", "aborted"}, e.Outcome):
		return fmt.Errorf("outcome %q: want error, canceled or aborted", e.Outcome)
	case (e.Drop != 0 || e.Total != 0) && r.Service != VCD:
		return fmt.Errorf("drop and total: only for %s", VCD)
	case (r.Length != 0 || e.Crash != "" || e.Capacity != 0) && r.Service != Disk:
		return fmt.Errorf("length, crash and capacity: only for %s", Disk)
	case r.Offset < 0 || r.Length < 0 || r.Offset > 0 && r.Length == 0:
		return fmt.Errorf("offset %d and length %d: want bytes of a disk", r.Offset, r.Length)
	case e.Crash != "" && e.Crash != "SIGSEGV" && e.Crash != "SIGABRT":
		return fmt.Errorf("crash %q: want SIGSEGV or SIGABRT", e.Crash)
	case e.Capacity < 0 || e.Capacity%512 != 0:
		return fmt.Errorf("capacity %d: want sectors of 512 bytes", e.Capacity)
	case e.Certificate != "" && r.Service != TLS:
		return fmt.Errorf("certificate: only for %s", TLS)
	case r.Service == TLS && !slices.Contains(certificates, e.Certificate):
		return fmt.Errorf("certificate %q: want one of %s", e.Certificate, strings.Join(certificates, ", "))
	case *e == (Effect{}) || *e == (Effect{After: true}):
		return fmt.Errorf("it has no effect")
	}
	return nil
}

// matches compares the patterns.
func (r *Rule) matches(c *Call) bool {
	if r.Length > 0 && (c.Offset >= r.Offset+r.Length || c.Offset+c.Length <= r.Offset) {
		return false
	}
	return glob(r.Service, c.Service) && glob(r.Server, c.Server) && glob(r.Operation, c.Operation) && glob(r.User, c.User) &&
		(glob(r.Object, c.Object) || glob(r.Object, c.Name) || glob(r.Object, withoutUUID(c.Name)))
}

// withoutUUID is vCD's name of a VM that vCenter has as "NAME (UUID)".
func withoutUUID(name string) string {
	const uuid = len(" (00000000-0000-0000-0000-000000000000)")
	at := len(name) - uuid
	if at > 0 && strings.HasPrefix(name[at:], " (") && strings.HasSuffix(name, ")") && strings.Count(name[at:], "-") >= 4 {
		return name[:at]
	}
	return name
}

// glob matches text with a pattern in which * stands for anything.
func glob(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, found := strings.CutPrefix(text, parts[0])
	if !found {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[last])
}
