package datastore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

const (
	// attempts is how often in a row a request may bring nothing.
	attempts = 5
	// defaultPatience is how long the server may keep silent.
	defaultPatience = time.Minute
	// probeSize is what Open reads of a disk to see whether it can.
	probeSize = 4096
)

// remote is the files of datastores behind one vCenter.
type remote struct {
	client *vsphere.Client
	http   *http.Client
	pause  func(attempt int) time.Duration
	// patience is how long the server may keep silent.
	patience time.Duration
}

// A file is one file on a datastore.
type file struct {
	remote *remote
	url    *url.URL
	size   int64
}

// flatFile finds the file that holds the bytes of a disk.
func (r *remote) flatFile(ctx context.Context, datacenter string, d transport.Disk) (*file, error) {
	folder, ok := strings.CutSuffix(d.FileName, path.Base(d.FileName))
	if !ok || !strings.HasPrefix(d.FileName, "["+d.Datastore+"] ") {
		return nil, fmt.Errorf("%q is no file of datastore %q", d.FileName, d.Datastore)
	}
	text, err := r.file(datacenter, d.FileName)
	if err != nil {
		return nil, err
	}
	content, err := text.all(ctx)
	if err != nil {
		return nil, fmt.Errorf("descriptor: %w", err)
	}
	name, size, err := parseDescriptor(content)
	if err != nil {
		return nil, err
	}
	if size != d.Capacity {
		return nil, fmt.Errorf("its descriptor speaks of %d bytes, its hardware of %d", size, d.Capacity)
	}
	f, err := r.file(datacenter, folder+name)
	if err != nil {
		return nil, err
	}
	f.size = size
	return f, nil
}

func (r *remote) file(datacenter, name string) (*file, error) {
	u, err := r.client.FolderURL(datacenter, name)
	if err != nil {
		return nil, err
	}
	return &file{remote: r, url: u}, nil
}

// errAnswer says that asking again would bring the same answer.
var errAnswer = errors.New("unexpected answer")

// renewals is how often one request asks for a new session. The one that was
// just renewed can have been ended by whoever ended the first.
const renewals = 3

// get sends one request for the given range, or for the whole file. If the
// session has ended it asks for a new one. The status of the response is
// 200 or 206; others are errors.
func (f *file) get(ctx context.Context, byteRange string) (*http.Response, error) {
	for renewed := 0; ; renewed++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url.String(), nil)
		if err != nil {
			return nil, err
		}
		if byteRange != "" {
			req.Header.Set("Range", byteRange)
		}
		resp, err := f.remote.http.Do(req)
		if err != nil {
			return nil, plain(err)
		}
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
			return resp, nil
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || renewed == renewals {
			return nil, statusError(resp)
		}
		if err := f.remote.client.Renew(ctx); err != nil {
			return nil, err
		}
	}
}

// busyAttempts is how often in a row a vCenter that says that it is busy is
// asked, before whoever asks is told to ask for less.
const busyAttempts = 3

func statusError(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("%w: server answers %s", transport.ErrOverloaded, resp.Status)
	case http.StatusInternalServerError, http.StatusBadGateway:
		return fmt.Errorf("server answers %s", resp.Status)
	}
	return fmt.Errorf("%w: %s", errAnswer, resp.Status)
}

// plain drops the request line from an error of net/http: it is long and the
// caller names the disk.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// all returns the whole of a small file.
func (f *file) all(ctx context.Context) (string, error) {
	var text string
	err := f.remote.retry(ctx, func(ctx context.Context) (bool, error) {
		resp, err := f.get(ctx, "")
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if resp.ContentLength > maxDescriptor {
			return false, fmt.Errorf("%w: %d bytes are not a descriptor", errAnswer, resp.ContentLength)
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxDescriptor+1))
		if err == nil && len(b) > maxDescriptor {
			err = fmt.Errorf("%w: more than %d bytes are not a descriptor", errAnswer, maxDescriptor)
		}
		text = string(b)
		return false, err
	})
	return text, err
}

// read fills p from the given offset, and adds what comes over the wire to
// received. A connection that breaks is replaced and goes on where it broke.
func (f *file) read(ctx context.Context, p []byte, off int64, received *atomic.Int64) error {
	return f.remote.retry(ctx, func(ctx context.Context) (bool, error) {
		n, err := f.readSome(ctx, p, off)
		p, off = p[n:], off+int64(n)
		if received != nil {
			received.Add(int64(n))
		}
		return n > 0, err
	})
}

// readSome sends one request for p and returns how much of it came.
func (f *file) readSome(ctx context.Context, p []byte, off int64) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := f.get(ctx, fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := checkRange(resp, off, int64(len(p)), f.size); err != nil {
		return 0, err
	}
	patience := f.remote.patience
	silence := time.AfterFunc(patience, func() { cancel(fmt.Errorf("nothing came for %s", patience)) })
	defer silence.Stop()
	n := 0
	for n < len(p) {
		k, err := resp.Body.Read(p[n:])
		n += k
		silence.Reset(patience)
		if n == len(p) {
			break
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return n, err
		}
	}
	// Reading up to the end lets the connection be used again.
	var rest [1]byte
	if k, _ := resp.Body.Read(rest[:]); k > 0 {
		return 0, fmt.Errorf("%w: more bytes than were asked for", errAnswer)
	}
	return n, nil
}

var contentRange = regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+)$`)

// checkRange compares what the server says it sends with what was asked for.
func checkRange(resp *http.Response, off, length, size int64) error {
	if resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("%w: %s to a range", errAnswer, resp.Status)
	}
	m := contentRange.FindStringSubmatch(resp.Header.Get("Content-Range"))
	if m == nil {
		return fmt.Errorf("%w: Content-Range %q", errAnswer, resp.Header.Get("Content-Range"))
	}
	var got [3]int64
	for i := range got {
		got[i], _ = strconv.ParseInt(m[i+1], 10, 64) // out of range differs below
	}
	if got[2] != size {
		return fmt.Errorf("%w: the flat file has %d bytes, the disk %d", errAnswer, got[2], size)
	}
	if got[0] != off || got[1] != off+length-1 {
		return fmt.Errorf("%w: bytes %d-%d, not %d-%d", errAnswer, got[0], got[1], off, off+length-1)
	}
	return nil
}

// retry repeats what failed for a reason that may pass, until attempts in a
// row made no progress.
func (r *remote) retry(ctx context.Context, try func(context.Context) (progress bool, err error)) error {
	for attempt := 0; ; attempt++ {
		progress, err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if progress {
			attempt = 0
		}
		if errors.Is(err, errAnswer) || fatal(err) || attempt+1 == attempts ||
			attempt+1 == busyAttempts && errors.Is(err, transport.ErrOverloaded) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(r.pause(attempt)):
		}
	}
}

// fatal reports whether err is about vCenter, not about a file: another try
// would not help, and another transport neither.
func fatal(err error) bool {
	return errors.Is(err, vsphere.ErrUntrusted) || errors.Is(err, vsphere.ErrLogin)
}
