package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/nbd"
	"github.com/vappvault/vappvault/internal/transport"
)

// nbd compares our client with nbdcopy and our server with nbdkit and
// qemu-nbd.
func (b *bench) nbd() error {
	for program, debian := range map[string]string{"nbdkit": "nbdkit", "nbdcopy": "libnbd-bin", "qemu-nbd": "qemu-utils"} {
		if _, err := b.system(program, debian); err != nil {
			return err
		}
	}
	b.report.ratioHead()
	if err := b.nbdClient(); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if err := b.nbdServer(); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	b.report.note("The client reads from an nbdkit that takes 2 ms for each call and, as VDDK's plugin, has no multi-conn; nbdcopy does what it does by default. Each starts an nbdkit of its own, whose time counts: ours as transport/vddk does, with a pair of sockets between. All read into nothing.")
	return nil
}

// nbdClient reads 1 MiB at a time, and has nbdcopy read as it does by default,
// each from a slow nbdkit that it starts: as transport/vddk does, with a pair
// of sockets between, and as nbdcopy does, which hands over a socket.
func (b *bench) nbdClient() error {
	server := []string{"nbdkit", "--readonly", "--filter=multi-conn", "--filter=noextents", "--filter=delay",
		"memory", fmt.Sprint(2 * b.size), "rdelay=2ms", "multi-conn-mode=disable"}
	ours, theirs, err := b.turns(
		func() (measure, error) {
			return own(b.ctx, b.self, "nbd-read", task{Server: append(server[:len(server):len(server)], "--single")})
		},
		func() (measure, error) {
			return measured(exec.CommandContext(b.ctx, "nbdcopy", slices.Concat([]string{"--", "["}, server, []string{"]", "null:"})...))
		})
	if err != nil {
		return err
	}
	b.report.ratio("NBD client, 1 MiB reads", "nbdcopy", ours, theirs, 0.4)
	return nil
}

// nbdServer has nbdcopy copy a sparse image, a quarter of which is data.
func (b *bench) nbdServer() error {
	text, err := b.source()
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, "served.raw")
	defer os.Remove(path) //nolint:errcheck // a temporary file
	size := 4 * b.size
	if _, err := sparseData(path, size, size/mib/4, 1, text); err != nil {
		return err
	}
	servers := []struct {
		name string
		most float64
		argv []string
	}{
		{name: "ours"},
		{"nbdkit's file plugin", 1.5, []string{"nbdkit", "-f", "-r", "-U", "SOCKET", "file", path}},
		{"qemu-nbd", 0, []string{"qemu-nbd", "-r", "-f", "raw", "-t", "--shared=8", "-k", "SOCKET", path}},
	}
	var copies []func() (measure, error)
	for i, s := range servers {
		socket := filepath.Join(b.dir, fmt.Sprintf("server%d.sock", i))
		argv := s.argv
		if argv == nil {
			argv = []string{b.self, "child", "nbd-serve", jsonOf(task{oursRun: oursRun{Images: []string{path}}, File: socket})}
		}
		for n, a := range argv {
			if a == "SOCKET" {
				argv[n] = socket
			}
		}
		stop, err := b.serve(socket, argv[0], argv[1:]...)
		if err != nil {
			return err
		}
		defer stop() //nolint:errcheck // it has served
		copies = append(copies, func() (measure, error) {
			return measured(exec.CommandContext(b.ctx, "nbdcopy", "nbd+unix:///?socket="+socket, "null:"))
		})
	}
	for i := 1; i < len(servers); i++ {
		ours, theirs, err := b.turns(copies[0], copies[i])
		if err != nil {
			return err
		}
		b.report.ratio("NBD server, sparse image, nbdcopy", servers[i].name, ours, theirs, servers[i].most)
	}
	return nil
}

// turns runs two things one after the other, as often as is asked for.
func (b *bench) turns(ours, theirs func() (measure, error)) (x, y series, err error) {
	for run := range b.runs {
		var m, n measure
		work := []func() error{
			func() (err error) { m, err = ours(); return err },
			func() (err error) { n, err = theirs(); return err },
		}
		for i := range work {
			if err := work[(i+run)%2](); err != nil {
				return nil, nil, err
			}
		}
		x, y = append(x, m), append(y, n)
	}
	return x, y, nil
}

func measured(cmd *exec.Cmd) (measure, error) {
	m, _, err := start(cmd)
	return m, err
}

// serve starts a server and waits for its socket.
func (b *bench) serve(socket, program string, args ...string) (stop func() error, err error) {
	cmd := exec.CommandContext(b.ctx, program, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // an interrupt is no success to some
		return nil
	}
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			return stop, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, errors.Join(fmt.Errorf("%s does not serve", program), stop())
}

// nbdRead reads the export of a server that it starts whole, as a backup does.
func nbdRead(ctx context.Context, server []string) error {
	conn, theirs, err := nbd.Pair()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, server[0], server[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, os.Stderr
	err = cmd.Start()
	if err := errors.Join(err, theirs.Close()); err != nil {
		return errors.Join(err, conn.Close())
	}
	c, err := nbd.NewClient(ctx, conn, nbd.Options{})
	if err != nil {
		return errors.Join(err, cmd.Wait())
	}
	var next atomic.Int64
	var g errgroup.Group
	for range 16 {
		g.Go(func() error {
			p := make([]byte, mib)
			for {
				off := next.Add(mib) - mib
				if off >= c.Size() {
					return nil
				}
				if err := c.ReadAt(ctx, p[:min(mib, c.Size()-off)], off); err != nil {
					return err
				}
			}
		})
	}
	return errors.Join(g.Wait(), c.Close(), cmd.Wait())
}

// nbdServe serves an image until it is interrupted.
func nbdServe(ctx context.Context, image, socket string) error {
	src, err := openSource(ctx, image)
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	s := &nbd.Server{Exports: []nbd.Export{{Backend: &backend{Source: src}, ReadOnly: true}}}
	if err := s.Serve(ctx, l); err != nil && ctx.Err() == nil {
		return err
	}
	return src.Close()
}

// A backend is a source as NBD serves it.
type backend struct{ transport.Source }
