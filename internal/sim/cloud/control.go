package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// The control socket speaks HTTP:
//
//	GET  /vms                                    RunningVM list
//	GET  /disk?vm=&disk=&offset=&length=         bytes; to the end without a length
//	PUT  /disk?vm=&disk=&offset=                 writes the body
//	GET  /sum?vm=&disk=                          SHA-256 of the disk, hex
//	POST /power?vm=&state=                       on, off, suspended
//	POST /time?advance=                          moves the clocks of the vCDs on, as 36h
//	POST /scrub                                  list of datastore paths
//	POST /faults                                 a fault.Rule; its id
//	GET  /faults                                 fault.Rule list
//	DELETE /faults?id=                           one rule, or all of them
//	GET  /calls?after=&service=&operation=&…     fault.Call list
//	DELETE /calls                                empties the log
//	POST /vmotion?vm=&host=&datastore=           names; empty: where it is
//	POST /datastore?name=&fill=&state=           bytes; normal, maintenance, inaccessible
//	POST /answer?vm=&choice=                     what the VM asks
//
// Errors are plain text.

// socketName is the control socket's name in a cloud's directory.
const socketName = "vcdsim.sock"

// Control serves the control socket in the cloud's directory until it is
// closed.
func (c *Cloud) Control() (io.Closer, error) {
	name, release, err := socketPath(c.dir)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer release()
	if running(name) {
		return nil, fmt.Errorf("control socket: %s: %w", c.dir, ErrBusy)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen("unix", name)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
	}
	server := &http.Server{Handler: c.controlHandler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	return closer(func() error {
		err := server.Close()
		if removal := os.Remove(filepath.Join(c.dir, socketName)); !errors.Is(removal, os.ErrNotExist) {
			err = errors.Join(err, removal)
		}
		return err
	}), nil
}

func running(socket string) bool {
	connection, err := net.Dial("unix", socket)
	if err == nil {
		_ = connection.Close()
	}
	return err == nil
}

type closer func() error

func (c closer) Close() error { return c() }

// maxSocketPath is what fits into a socket's address on every system.
const maxSocketPath = 100

// socketPath is a name for the socket that is short enough for the system
// to take it, good until release is called.
func socketPath(dir string) (name string, release func(), err error) {
	name = filepath.Join(dir, socketName)
	if len(name) <= maxSocketPath {
		return name, func() {}, nil
	}
	folder, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), socketName), func() { _ = folder.Close() }, nil
}

func (c *Cloud) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := answer(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	handle("GET /vms", c.answerVMs)
	handle("GET /disk", c.answerRead)
	handle("PUT /disk", c.answerWrite)
	handle("GET /sum", c.answerSum)
	handle("POST /power", func(_ http.ResponseWriter, r *http.Request) error {
		return c.Power(r.Context(), r.FormValue("vm"), r.FormValue("state"))
	})
	handle("DELETE /vapp", func(_ http.ResponseWriter, r *http.Request) error {
		return c.DeleteVApp(r.Context(), r.FormValue("vapp"))
	})
	handle("POST /scrub", c.answerScrub)
	c.handleFaults(handle)
	handle("POST /time", func(_ http.ResponseWriter, r *http.Request) error { return c.advance(r.FormValue("advance")) })
	c.vsphereHandlers(handle)
	return mux
}

func (c *Cloud) answerVMs(w http.ResponseWriter, r *http.Request) error {
	vms, err := c.VMs(r.Context())
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(vms)
}

func (c *Cloud) answerScrub(w http.ResponseWriter, r *http.Request) error {
	files, err := c.Scrub(r.Context())
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(files)
}

// disk is the one that a request is about.
func (c *Cloud) disk(r *http.Request) (*vcenter.GuestDisk, error) {
	number, err := strconv.Atoi(r.URL.Query().Get("disk"))
	if err != nil || number < 0 {
		return nil, fmt.Errorf("disk %q: want a number from 0", r.URL.Query().Get("disk"))
	}
	return c.Guest(r.Context(), r.URL.Query().Get("vm"), number)
}

// number reads a number of bytes from the query.
func number(r *http.Request, key string, fallback int64) (int64, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return fallback, nil
	}
	size, err := ParseSize(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	return int64(size), nil
}

const transferSize = 1 << 20

func (c *Cloud) answerRead(w http.ResponseWriter, r *http.Request) error {
	disk, err := c.disk(r)
	if err != nil {
		return err
	}
	offset, err := number(r, "offset", 0)
	if err != nil {
		return err
	}
	length, err := number(r, "length", max(0, disk.Size()-offset))
	if err != nil {
		return err
	}
	if offset > disk.Size() || length > disk.Size()-offset {
		return fmt.Errorf("%d bytes at %d: the disk has %d", length, offset, disk.Size())
	}
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	if _, err := io.CopyBuffer(w, io.NewSectionReader(disk, offset, length), make([]byte, transferSize)); err != nil {
		panic(http.ErrAbortHandler) // too late for a status: the missing bytes tell
	}
	return nil
}

func (c *Cloud) answerWrite(w http.ResponseWriter, r *http.Request) error {
	disk, err := c.disk(r)
	if err != nil {
		return err
	}
	offset, err := number(r, "offset", 0)
	if err != nil {
		return err
	}
	buffer := make([]byte, transferSize)
	written := int64(0)
	for {
		n, err := io.ReadFull(r.Body, buffer)
		if n > 0 {
			if end := offset + written + int64(n); end > disk.Size() {
				return fmt.Errorf("write up to %d: the disk has %d bytes; %d were written", end, disk.Size(), written)
			}
			if _, werr := disk.WriteAt(buffer[:n], offset+written); werr != nil {
				return werr
			}
			written += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "%d", written)
	return err
}

func (c *Cloud) answerSum(w http.ResponseWriter, r *http.Request) error {
	disk, err := c.disk(r)
	if err != nil {
		return err
	}
	sum, err := Sum(r.Context(), disk)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, sum)
	return err
}

// Sum is the SHA-256 of a disk's bytes, in hex. Holes are not read, but they
// count as the zeros that they are.
func Sum(ctx context.Context, disk *vcenter.GuestDisk) (string, error) {
	extents, err := disk.Extents()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	buffer := make([]byte, transferSize)
	at := int64(0)
	pad := func(to int64) error {
		for at < to {
			n := min(to-at, int64(len(zeros)))
			_, _ = hash.Write(zeros[:n]) // never fails
			at += n
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	}
	for _, extent := range extents {
		if err := pad(extent.Offset); err != nil {
			return "", err
		}
		section := io.NewSectionReader(disk, extent.Offset, extent.Length)
		n, err := io.CopyBuffer(hash, section, buffer)
		if err != nil {
			return "", fmt.Errorf("read at %d: %w", at+n, err)
		}
		at += n
	}
	if err := pad(disk.Size()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}
