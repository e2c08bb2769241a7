package vddk

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vappvault/vappvault/internal/nbd"
)

// How long a child has to end by itself once its connection is closed, and
// after SIGTERM. Closing a disk that was attached to this machine detaches it.
const (
	closeTime = 30 * time.Second
	termTime  = 10 * time.Second
)

// A child is an nbdkit that runs.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it is gone and all it said has been read
	err   error         // of Wait, once ended is closed
	close time.Duration
	term  time.Duration
}

// spawn starts nbdkit with one end of a pair of sockets as its standard
// input and output, and the secret to be read from descriptor 3. What it says
// goes to log.
func (o Options) spawn(args []string, secret string, log *messages) (*child, net.Conn, error) {
	ours, theirs, err := nbd.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	password, err := secretPipe(secret)
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	defer password.Close()
	cmd := exec.Command(o.Nbdkit, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, log
	cmd.ExtraFiles = []*os.File{password}
	cmd.Env, cmd.Dir = environment(), "/"
	cmd.WaitDelay = o.ending // for whoever else may hold its standard error
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// Of its own, so that an interrupt from the terminal does not reach
		// it: an nbdkit that is told to end amid a request aborts.
		Setpgid: true,
		// Until nbdkit has made a SIGTERM of it, with --single: see watcher.
		Pdeathsig: syscall.SIGKILL,
	}
	c := &child{cmd: cmd, ended: make(chan struct{}), close: o.closing, term: o.ending}
	if err := c.start(log); err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	return c, ours, nil
}

// start starts the child from a thread that lives as long as it does: the
// kernel sends a death signal, nbdkit asks for one too, when the thread
// that forked ends, not the process.
func (c *child) start(log *messages) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		if err != nil {
			started <- err
			return
		}
		w, err := newWatcher(c.cmd.Process.Pid)
		if err != nil {
			_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
			_ = c.cmd.Wait() // for what was killed
			started <- err
			return
		}
		started <- nil
		c.err = c.cmd.Wait()
		w.dismiss()
		log.end()
		close(c.ended)
	}()
	return <-started
}

// dead reports whether the child has ended.
func (c *child) dead() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// stop waits for the child to end, now that its connection is closed, and
// makes it where it does not.
func (c *child) stop() error {
	if c.await(c.close) {
		return nil
	}
	err := fmt.Errorf("nbdkit (process %d) did not end when its connection was closed, and had to be told", c.cmd.Process.Pid)
	c.signal(syscall.SIGTERM)
	if c.await(c.term) {
		return err
	}
	return fmt.Errorf("%w twice: it was killed", errors.Join(err, c.kill()))
}

// kill ends the child at once.
func (c *child) kill() error {
	c.signal(syscall.SIGKILL)
	if !c.await(c.term + c.cmd.WaitDelay) {
		return errors.New("it is stuck in the kernel")
	}
	return nil
}

// signal goes to the child and whatever it has started.
func (c *child) signal(s syscall.Signal) {
	if !c.dead() {
		_ = syscall.Kill(-c.cmd.Process.Pid, s) // it may have ended just now
	}
}

func (c *child) await(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.ended:
		return true
	case <-t.C:
		return false
	}
}

// environment is what the library may need of ours; the rest may hold
// passwords.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// secretPipe returns what a secret can be read from, once.
func secretPipe(secret string) (*os.File, error) {
	const room = 4096 // a pipe takes that much without a reader
	if len(secret) > room {
		return nil, errors.New("the password is too long")
	}
	if strings.ContainsAny(secret, "\n\x00") {
		return nil, errors.New("nbdkit takes no password of several lines")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe for the password: %w", err)
	}
	_, err = w.WriteString(secret)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("pipe for the password: %w", err), r.Close())
	}
	return r, nil
}
