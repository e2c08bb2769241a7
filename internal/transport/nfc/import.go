package nfc

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vmdk"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// removeTime bounds how long a failed import tries to remove its VM.
const removeTime = 2 * time.Minute

// An Importer makes VMs through import leases.
type Importer struct {
	patience time.Duration // how long the other side may take nothing; 0 means a default
}

// Name is "nfc".
func (Importer) Name() string { return "nfc" }

// Import makes a new VM as spec says, fills its disks, and returns its managed
// object reference. Disks of the spec that are not listed become empty. Of the
// content only what may hold data is read, several pieces at a time.
//
// Progress is told how many bytes of content were passed on so far, of all
// disks together; it may be nil. After an error there is no VM, or the error
// says which one could not be removed.
func (m Importer) Import(ctx context.Context, c *vsphere.Client, spec vsphere.ImportSpec, disks []transport.Fill, progress func(done int64)) (moref string, err error) {
	if progress == nil {
		progress = func(int64) {}
	}
	i := &importer{client: c, disks: disks, progress: progress, patience: cmp.Or(m.patience, defaultPatience)}
	if moref, err = i.run(ctx, spec); err != nil {
		return "", fmt.Errorf("nfc: import %s: %w", spec.Name, err)
	}
	return moref, nil
}

type importer struct {
	client   *vsphere.Client
	disks    []transport.Fill
	blanks   []transport.Fill // disks that nobody has content for
	progress func(done int64)
	patience time.Duration

	lease *lease
	http  *http.Client
	urls  map[int32]*url.URL
	done  int64 // bytes of content that were passed on
}

func (i *importer) run(ctx context.Context, spec vsphere.ImportSpec) (moref string, err error) {
	places, err := i.places(spec.ConfigSpec.DeviceChange)
	if err != nil {
		return "", err
	}
	vim := i.client.Client()
	res, err := methods.ImportVApp(ctx, vim, request(spec))
	if err != nil {
		return "", fmt.Errorf("lease: %w", vsphere.Explain(err))
	}
	if i.lease, err = takeLease(ctx, vim, res.Returnval); err != nil {
		return "", err
	}
	moref = i.lease.info.Entity.Value
	// The host may have to write out much after the last byte came.
	i.http = newHTTP(vim, 5*i.patience)
	defer i.http.CloseIdleConnections()
	if err = i.transfer(ctx, places); err == nil {
		err = i.lease.complete()
	}
	if err != nil {
		if uerr := i.undo(moref, err); uerr != nil {
			err = fmt.Errorf("%w; %w", err, uerr)
		}
		return "", err
	}
	return moref, nil
}

func request(spec vsphere.ImportSpec) *types.ImportVApp {
	config := spec.ConfigSpec
	config.Name = spec.Name
	req := &types.ImportVApp{
		This: types.ManagedObjectReference{Type: "ResourcePool", Value: spec.ResourcePool},
		Spec: &types.VirtualMachineImportSpec{ConfigSpec: config},
	}
	if spec.Folder != "" {
		req.Folder = &types.ManagedObjectReference{Type: "Folder", Value: spec.Folder}
	}
	if spec.Host != "" {
		req.Host = &types.ManagedObjectReference{Type: "HostSystem", Value: spec.Host}
	}
	return req
}

// places returns where the spec attaches the disks that are to be filled.
func (i *importer) places(changes []types.BaseVirtualDeviceConfigSpec) (map[int32]place, error) {
	// The IDE controllers are there without being asked for.
	controllers := map[int32]place{200: {class: "ide", bus: 0}, 201: {class: "ide", bus: 1}}
	found := map[int32]*types.VirtualDisk{}
	places := map[int32]place{}
	for _, change := range changes {
		switch d := change.GetVirtualDeviceConfigSpec().Device.(type) {
		case *types.VirtualDisk:
			found[d.Key] = d
		case types.BaseVirtualController:
			c := d.GetVirtualController()
			controllers[c.Key] = place{class: class(fmt.Sprintf("%T", d)), bus: c.BusNumber}
		}
	}
	for _, want := range i.disks {
		d, ok := found[want.Key]
		if !ok {
			return nil, fmt.Errorf("disk %d: not in the VM's specification, or listed twice", want.Key)
		}
		delete(found, want.Key)
		if c := capacity(d); c != want.Content.Size() {
			return nil, fmt.Errorf("disk %d: %d bytes of content for a disk of %d", want.Key, want.Content.Size(), c)
		}
		places[want.Key] = attached(d, controllers)
	}
	// A lease is complete when all its disks have come, empty ones too.
	for key, d := range found {
		places[key] = attached(d, controllers)
		i.blanks = append(i.blanks, transport.Fill{Key: key, Content: blank(capacity(d))})
	}
	return places, nil
}

func attached(d *types.VirtualDisk, controllers map[int32]place) place {
	p := controllers[d.ControllerKey]
	if d.UnitNumber != nil {
		p.unit = *d.UnitNumber
	}
	return p
}

func capacity(d *types.VirtualDisk) int64 {
	if d.CapacityInBytes != 0 {
		return d.CapacityInBytes
	}
	return d.CapacityInKB << 10
}

// transfer fills the disks, one after the other: on the far side they go
// through one host to, as a rule, one datastore.
func (i *importer) transfer(ctx context.Context, places map[int32]place) (err error) {
	if i.urls, err = i.lease.deviceURLs(i.client.Client(), places); err != nil {
		return err
	}
	for _, d := range i.disks {
		if i.urls[d.Key] == nil {
			return fmt.Errorf("disk %d: the lease does not have it", d.Key)
		}
		i.lease.total.Add(d.Content.Size())
	}
	all := slices.Clone(i.disks)
	for _, d := range i.blanks {
		if i.urls[d.Key] != nil { // a disk that exists already has none
			all = append(all, d)
		}
	}
	for _, d := range all {
		if err := i.upload(ctx, d); err != nil {
			return fmt.Errorf("disk %d: %w", d.Key, err)
		}
	}
	return nil
}

// upload sends one disk.
func (i *importer) upload(ctx context.Context, d transport.Fill) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(i.lease.alive, func() { cancel(context.Cause(i.lease.alive)) })()

	out, in := io.Pipe()
	encoded := make(chan error, 1)
	go func() { encoded <- i.encode(ctx, in, &patientWriter{in, i.patience, cancel}, d.Content) }()
	sent := i.post(ctx, i.urls[d.Key], out)
	// Whatever ended the request ends the encoder too.
	out.CloseWithError(errUnsent)
	err := <-encoded
	switch {
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case err != nil && !errors.Is(err, errUnsent) && !errors.Is(err, io.ErrClosedPipe):
		return err // of the content; the others only follow from that of the request
	case sent != nil:
		return fmt.Errorf("upload: %w", sent)
	case err != nil:
		return errors.New("upload: server answered before it had everything")
	}
	return nil
}

var errUnsent = errors.New("upload has ended")

// post sends a stream of unknown length.
func (i *importer) post(ctx context.Context, u *url.URL, content io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", streamVMDK)
	resp, err := i.http.Do(req)
	if err != nil {
		return plain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests {
		return fmt.Errorf("%w: server answers %s", transport.ErrOverloaded, resp.Status)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("server answers %s", resp.Status)
	}
	return nil
}

// encode writes content as a stream to w, which leads to the pipe, and closes
// the pipe.
func (i *importer) encode(ctx context.Context, pipe *io.PipeWriter, w io.Writer, content transport.Source) error {
	buffered := bufio.NewWriterSize(w, 256<<10)
	stream, err := vmdk.NewWriter(buffered, content.Size(), vmdk.WriterOptions{})
	if err != nil {
		pipe.CloseWithError(err)
		return err
	}
	defer stream.Abort()
	err = i.fill(ctx, stream, content)
	if err == nil {
		err = stream.Close()
	}
	if err == nil {
		err = buffered.Flush()
	}
	// Before Abort, which waits for writes; with nil, the end is io.EOF.
	pipe.CloseWithError(err)
	return err
}

// fill writes the grains of content.
func (i *importer) fill(ctx context.Context, stream *vmdk.Writer, content transport.Source) error {
	at := int64(0)
	pass := func(off int64) {
		i.lease.moved.Add(off - at)
		at = off
	}
	err := readAhead(ctx, content, func(off int64, data []byte) error {
		for rest := data; len(rest) > 0; {
			n := min(vmdk.GrainSize, len(rest))
			if err := stream.WriteGrain(off, rest[:n]); err != nil {
				return err
			}
			rest, off = rest[n:], off+int64(n)
		}
		pass(off)
		i.done += int64(len(data))
		i.progress(i.done)
		return nil
	})
	if err == nil {
		pass(content.Size())
	}
	return err
}

// undo gives up the lease, which makes vCenter remove the VM, and looks that
// it did.
func (i *importer) undo(moref string, reason error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(i.lease.alive), removeTime)
	defer cancel()
	// Whether that succeeds is of no account if the VM is gone afterwards.
	aborted := i.lease.abort(reason)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := i.client.VM(moref).Destroy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s is left behind: %w", moref, err), aborted)
		case <-time.After(pause): // the VM may be busy with being removed
		}
	}
}

// patientWriter ends an upload when the server takes nothing for a long time.
type patientWriter struct {
	out      io.Writer
	patience time.Duration
	cancel   context.CancelCauseFunc
}

func (w *patientWriter) Write(p []byte) (int, error) {
	defer time.AfterFunc(w.patience, func() { w.cancel(fmt.Errorf("server took nothing for %s", w.patience)) }).Stop()
	return w.out.Write(p)
}

// blank is a disk of so many bytes without data.
type blank int64

func (b blank) Size() int64      { return int64(b) }
func (blank) Transferred() int64 { return 0 }
func (blank) Close() error       { return nil }

func (blank) Extents(context.Context, extent.Extent) (extent.Set, error) { return nil, nil }

func (blank) ReadAt(_ context.Context, p []byte, _ int64) error {
	clear(p)
	return nil
}
