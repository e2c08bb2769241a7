package vsphere

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Errors that callers can test for with errors.Is.
var (
	// ErrNotFound says that the VM, snapshot, disk or file is not there.
	ErrNotFound = errors.New("not found")
	// ErrLogin says that vCenter refused user or password.
	ErrLogin = errors.New("login refused")
	// ErrUntrusted says that the server's certificate is neither pinned nor
	// signed by a trusted authority.
	ErrUntrusted = errors.New("certificate not trusted")
	// ErrDenied says that the user lacks a privilege.
	ErrDenied = errors.New("permission denied")
	// ErrNotSupported says that this vCenter, VM or disk cannot do it.
	ErrNotSupported = errors.New("not supported")
	// ErrChangeIDUnknown says that the host cannot tell what changed since
	// the given change ID. The bytes are all still there: read in full.
	ErrChangeIDUnknown = errors.New("change ID unknown")
	// ErrSnapshotsPresent says that changed block tracking was left alone
	// because the VM has snapshots.
	ErrSnapshotsPresent = errors.New("snapshots present")
	// ErrQuiesce says that the guest could not be quiesced though that was
	// required.
	ErrQuiesce = errors.New("guest not quiesced")
	// ErrConsolidation says that the snapshot is gone but its disks still
	// wait to be consolidated.
	ErrConsolidation = errors.New("disks need consolidation")
	// ErrInUse says that a file is locked: a VM or a host has it open.
	ErrInUse = errors.New("in use")
	// ErrTooLarge says that a file is larger than File is meant for.
	ErrTooLarge = errors.New("file too large")
)

// A faultError is a fault of vCenter in an operator's words. It is the
// sentinel of its kind, if it has one, and unwraps to the cause.
type faultError struct {
	kind  error // may be nil
	cause error
}

func (e *faultError) Is(target error) bool { return e.kind != nil && target == e.kind }
func (e *faultError) Unwrap() error        { return e.cause }

func (e *faultError) Error() string {
	msg := message(e.cause)
	if needs := lacking(e.cause); len(needs) > 0 {
		// vCenter's own text does not say which.
		msg = strings.TrimPrefix(msg+"; needs "+strings.Join(needs, ", "), "; ")
	}
	if e.kind == nil {
		return msg
	}
	if msg == "" {
		return e.kind.Error()
	}
	return e.kind.Error() + " (" + msg + ")"
}

// lacking lists the privileges that a NoPermission in err speaks of.
func lacking(err error) []string {
	b, ok := faultAs[types.BaseNoPermission](err)
	if !ok {
		return nil
	}
	var all []string
	f := b.GetNoPermission()
	if f.PrivilegeId != "" {
		all = append(all, f.PrivilegeId)
	}
	for _, m := range f.MissingPrivileges { // since vSphere 7.0.3.2
		all = append(all, m.PrivilegeIds...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// message returns what vCenter says about err, without the SOAP fault code.
func message(err error) string {
	if soap.IsSoapFault(err) {
		f := soap.ToSoapFault(err)
		name := ""
		if f.Detail.Fault != nil {
			name = reflect.TypeOf(f.Detail.Fault).Name()
		}
		return describe(name, f.String)
	}
	return err.Error()
}

// describe joins the type name of a fault with vCenter's text for it.
func describe(name, text string) string {
	text = strings.TrimSuffix(strings.TrimSpace(text), ".")
	switch {
	case text == "":
		return name
	case name == "" || strings.Contains(text, name):
		return text
	}
	return name + ": " + text
}

// isFault reports whether err carries a fault of type T, or of a type that
// T's interface (types.BaseX) stands for.
func isFault[T any](err error) bool {
	_, ok := faultAs[T](err)
	return ok
}

// faultAs finds the first fault of type T in the tree of err. Package fault
// by itself looks at no more than the first branch of joined errors.
func faultAs[T any](err error) (T, bool) {
	var f T
	switch e := err.(type) {
	case nil:
		return f, false
	case interface{ Unwrap() []error }:
		for _, branch := range e.Unwrap() {
			if f, ok := faultAs[T](branch); ok {
				return f, true
			}
		}
		return f, false
	case interface{ Unwrap() error }:
		return faultAs[T](e.Unwrap())
	}
	_, ok := fault.As(err, &f)
	return f, ok
}

// Held reports whether err says that something under way holds the VM, such as
// another task or an NFC lease, which ends by itself.
func Held(err error) bool {
	return isFault[types.BaseTaskInProgress](err) || isFault[*types.ConcurrentAccess](err) || isFault[*types.InvalidState](err)
}

// Explain is for transports, which call vCenter themselves: a fault of it gets
// its sentinel and an operator's words. Other errors pass as they are.
func Explain(err error) error { return explain(err) }

// explain gives a fault of vCenter its sentinel. Other errors pass as they are.
func explain(err error) error {
	if err == nil {
		return nil
	}
	kind := kindOf(err)
	if kind == nil && !soap.IsSoapFault(err) {
		return err
	}
	return &faultError{kind: kind, cause: err}
}

func kindOf(err error) error {
	var known *faultError
	if errors.As(err, &known) {
		return nil
	}
	switch {
	case isFault[*types.ManagedObjectNotFound](err), isFault[*types.FileNotFound](err), isFault[*types.NotFound](err):
		return ErrNotFound
	case isFault[types.BaseNoPermission](err):
		return ErrDenied
	case isFault[*types.MethodNotFound](err), isFault[*types.NotSupported](err), isFault[*types.NotImplemented](err):
		return ErrNotSupported
	case isFault[*types.InvalidLogin](err):
		return ErrLogin
	case isFault[*types.FileLocked](err), isFault[*types.ResourceInUse](err):
		return ErrInUse
	}
	return nil
}
