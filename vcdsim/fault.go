package vcdsim

import (
	"time"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// A Rule makes the calls go wrong that match all of its patterns. In a pattern
// * stands for anything, and an empty one matches everything. Case counts.
//
// What this package does on the cloud's behalf (VMs, Power, Disk, DeleteVApp,
// …) is neither acted on nor logged; what a vCD does for it in its vCenters
// is.
type Rule struct {
	ID string // made where it is empty

	// Service is one of
	//
	//	vcd           HTTP calls of vCD, /transfer too
	//	vcd-task      vCD's tasks
	//	vsphere       SOAP calls of vCenter
	//	vsphere-task  vCenter's tasks
	//	nfc           transfers of a lease
	//	folder        files of datastores
	//	disk          VDDK's calls to a host
	//	tls           handshakes of all servers
	Service string

	// Server is SITE, SITE/VCENTER or SITE/VCENTER/HOST.
	Server string

	// Operation is "METHOD /path/{id}", or with the address itself, for vcd;
	// the task's name, such as vappDeploy, for vcd-task; the method, such as
	// CreateSnapshotEx_Task, for vsphere and vsphere-task; the HTTP method for
	// nfc and folder; VDDK's function without its prefix, such as Open, Read or
	// QueryAllocatedBlocks, for disk; vcd, vsphere or nfc for tls.
	Operation string

	// Object is what Call.Object or Call.Name is; of a VM in vCenter, whose
	// name is "NAME (UUID)" there, vCD's name does too.
	Object string

	User string // as Call.User

	// Offset and Length are bytes of a disk: only reads and writes of VDDK
	// that touch them match. Without a length all do.
	Offset, Length int64

	Skip        int     // so many matching calls pass first
	Count       int     // so many are acted on; 0: all
	Probability float64 // of acting on one, 0 to 1; 0: always

	Effect

	Hits int // calls that it acted on so far
}

// An Effect is what happens to a call. Several may be joined: a delay, then a
// refusal.
type Effect struct {
	// After lets the call do its work; only the caller does not learn of it.
	After bool

	Delay time.Duration
	Hang  bool // no answer until the rule is removed or the caller leaves

	Status     int           // of HTTP, 400 to 599, of a refusal
	Code       string        // vCD: minorErrorCode; vSphere: the fault's type, such as NoPermission; disk: VDDK's number, such as 14009
	Message    string        // of a refusal
	RetryAfter time.Duration // header of a refusal
	Logout     bool          // the caller's session ends first

	// Bytes are those of the answer; of an upload (over nfc, folder,
	// /transfer) those of the request's body, then of the answer.
	Reset *int64 // the connection is reset after so many bytes
	Rate  int64  // bytes in a second

	Outcome string // of a task: error, canceled, aborted

	Drop  int // vCD: records left out of the end of a query's page
	Total int // vCD: added to a query's total

	Certificate string // tls: expired, stranger (another authority's) or elsewhere (for another host)

	Crash    string // disk: VDDK dies with the program that it is in: SIGSEGV, SIGABRT
	Capacity int64  // disk: the size that Open tells, in bytes
}

// A Call is one that a server got. Tasks and refused handshakes count as some.
type Call struct {
	N         int64 // counts from 1
	Time      time.Time
	Service   string // as in Rule, Server and Operation too
	Server    string
	Operation string
	Object    string // path with query (vcd), moref (vsphere), id (vcd-task)
	Name      string // of the object, where it has one
	User      string
	Status    int   // of HTTP; 0 where no answer was given
	Bytes     int64 // of the answer's body
	Took      time.Duration
	Rule      string // id of the one that acted on it
}

// AddFault adds a rule behind the others and returns its id. A rule that can
// never act is refused.
func (c *Cloud) AddFault(r Rule) (string, error) { return c.running.Faults().Add(r.internal()) }

// Faults lists the rules, with how often each has acted.
func (c *Cloud) Faults() []Rule {
	var out []Rule
	for _, r := range c.running.Faults().List() {
		out = append(out, external(r))
	}
	return out
}

// ClearFaults removes rules by their ids, all of them without any. Calls that
// one of them holds go on.
func (c *Cloud) ClearFaults(ids ...string) error { return c.running.Faults().Clear(ids...) }

// Calls lists the calls after number n that match the patterns of r, the
// oldest first: of the last 65,536.
func (c *Cloud) Calls(r Rule, n int64) []Call {
	var out []Call
	for _, k := range c.running.Faults().Calls(r.internal(), n) {
		out = append(out, Call{
			N: k.N, Time: k.Time, Service: k.Service, Server: k.Server, Operation: k.Operation, Object: k.Object, Name: k.Name,
			User: k.User, Status: k.Status, Bytes: k.Bytes, Took: time.Duration(k.Took), Rule: k.Rule,
		})
	}
	return out
}

// ForgetCalls empties the log of calls. Numbers go on.
func (c *Cloud) ForgetCalls() { c.running.Faults().Forget() }

func (r Rule) internal() fault.Rule {
	e := r.Effect
	return fault.Rule{
		ID: r.ID, Service: r.Service, Server: r.Server, Operation: r.Operation, Object: r.Object, User: r.User,
		Offset: r.Offset, Length: r.Length, Skip: r.Skip, Count: r.Count, Probability: r.Probability, Hits: r.Hits,
		Effect: fault.Effect{
			After: e.After, Delay: fault.Duration(e.Delay), Hang: e.Hang,
			Status: e.Status, Code: e.Code, Message: e.Message, RetryAfter: fault.Duration(e.RetryAfter), Logout: e.Logout,
			Reset: e.Reset, Rate: e.Rate, Outcome: e.Outcome, Drop: e.Drop, Total: e.Total, Certificate: e.Certificate,
			Crash: e.Crash, Capacity: e.Capacity,
		},
	}
}

func external(r fault.Rule) Rule {
	e := r.Effect
	return Rule{
		ID: r.ID, Service: r.Service, Server: r.Server, Operation: r.Operation, Object: r.Object, User: r.User,
		Offset: r.Offset, Length: r.Length, Skip: r.Skip, Count: r.Count, Probability: r.Probability, Hits: r.Hits,
		Effect: Effect{
			After: e.After, Delay: time.Duration(e.Delay), Hang: e.Hang,
			Status: e.Status, Code: e.Code, Message: e.Message, RetryAfter: time.Duration(e.RetryAfter), Logout: e.Logout,
			Reset: e.Reset, Rate: e.Rate, Outcome: e.Outcome, Drop: e.Drop, Total: e.Total, Certificate: e.Certificate,
			Crash: e.Crash, Capacity: e.Capacity,
		},
	}
}
