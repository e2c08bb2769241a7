package vcd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"
)

// atOnce is how many documents a capture fetches side by side.
const atOnce = 4

// What a capture takes: a vApp of 128 VMs with everything they can refer to
// stays far below. A server that leads on and on is not followed. One answer
// may have MaxDocument bytes.
const (
	maxDocuments = 20_000
	maxCapture   = 1 << 30 // bytes of all documents together
)

// ErrTooMuch says that a vApp has more documents, or larger ones, than a
// capture takes.
var ErrTooMuch = errors.New("more documents than a capture takes")

// A Capture is every document of a vApp and of what it refers to, verbatim.
// The paths are those of a restore point: ids, never names.
type Capture struct {
	VApp   *VApp
	Files  map[string][]byte // "vcd/vapp.xml", "vcd/vms/VM-UUID/vm.xml", "vcd/context/vdc.xml", …
	Absent map[string]string // path -> why the server did not give it
}

// A job fetches one document.
type job struct {
	path, href string
	required   bool
	index      bool                            // read for what it leads to, and not kept
	follow     func(raw []byte) ([]job, error) // what the document refers to; nil for nothing
}

// limits are maxDocuments and maxCapture, smaller in tests.
type limits struct{ documents, bytes int }

// Capture fetches the documents of a vApp (URN or href). Documents of kinds
// that the server does not have, or does not show this user, are listed as
// absent; without the vApp's and its VMs' own documents there is no capture.
// An entity that changes meanwhile gives documents of different moments: put
// it in maintenance mode and let its tasks end first.
func (c *Client) Capture(ctx context.Context, vappID string) (*Capture, error) {
	return c.capture(ctx, vappID, limits{maxDocuments, maxCapture})
}

func (c *Client) capture(ctx context.Context, vappID string, most limits) (*Capture, error) {
	vapp, err := c.VApp(ctx, vappID)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	out := &Capture{VApp: vapp, Files: map[string][]byte{"vcd/vapp.xml": vapp.Raw}, Absent: make(map[string]string)}
	for _, vm := range vapp.VMs {
		if UUID(vm.ID) == "" {
			return nil, fmt.Errorf("capture %s: VM %s: no id", vapp.Name, vm.Name)
		}
	}
	known := make(map[string]bool)
	for wave := c.vappJobs(vapp); len(wave) > 0; {
		var fresh []job
		for _, j := range wave {
			if !known[j.path] {
				known[j.path] = true
				fresh = append(fresh, j)
			}
		}
		if len(known) > most.documents {
			return nil, fmt.Errorf("capture %s: %w: over %d", vapp.Name, ErrTooMuch, most.documents)
		}
		if wave, err = c.fetchAll(ctx, fresh, out, &most.bytes); err != nil {
			return nil, fmt.Errorf("capture %s: %w", vapp.Name, err)
		}
	}
	return out, nil
}

// fetchAll runs jobs and returns those that their documents lead to. It takes
// the size of what it fetched off room.
func (c *Client) fetchAll(ctx context.Context, jobs []job, out *Capture, room *int) ([]job, error) {
	var next []job
	// In steps, so that what is too much is not all in memory before it is
	// noticed.
	for len(jobs) > 0 {
		n := min(len(jobs), 4*atOnce)
		more, err := c.fetchSome(ctx, jobs[:n], out, room)
		if err != nil {
			return nil, err
		}
		next, jobs = append(next, more...), jobs[n:]
	}
	return next, nil
}

func (c *Client) fetchSome(ctx context.Context, jobs []job, out *Capture, room *int) ([]job, error) {
	docs := make([]*Document, len(jobs))
	absent := make([]string, len(jobs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, j := range jobs {
		group.Go(func() error {
			doc, err := c.Get(ctx, j.href)
			if why, ok := absence(err); ok && !j.required {
				absent[i] = why
				return nil
			}
			docs[i] = doc
			if err == nil {
				err = checkForm(j.path, doc.Raw)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", j.path, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var next []job
	for i, j := range jobs {
		if docs[i] == nil {
			out.Absent[j.path] = absent[i]
			continue
		}
		if *room -= len(docs[i].Raw); *room < 0 {
			return nil, fmt.Errorf("%s: %w: too large together", j.path, ErrTooMuch)
		}
		if !j.index {
			out.Files[j.path] = docs[i].Raw
		}
		if j.follow == nil {
			continue
		}
		more, err := j.follow(docs[i].Raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", j.path, err)
		}
		next = append(next, more...)
	}
	return next, nil
}

// checkForm refuses an answer that is not what its name says: what is kept
// must be readable later.
func checkForm(path string, raw []byte) error {
	if strings.HasSuffix(path, ".xml") {
		return wellFormed(raw)
	}
	return wellFormedJSON(raw)
}

// absence tells whether an error means that there is no such document here,
// and how to say so.
func absence(err error) (why string, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return "", false
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusGone,
		http.StatusNotImplemented, http.StatusForbidden:
	case http.StatusBadRequest:
		if e.Minor == busyEntity {
			return "", false
		}
	default:
		return "", false
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s %s", e.Status, e.Minor, e.Message)), true
}
