package vddk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// watch is a shell that waits for a word from us. Where our end of the pipe
// closes without one, we were killed: it gives nbdkit, whose connection has
// closed then too, some seconds to close the disk, and kills it.
const watch = `trap '' HUP INT TERM; word=; read -r word; [ "$word" = done ] && exit; sleep 3; kill -s KILL -- "-$1"`

// A watcher sees to it that a child does not outlive us. The kernel would do it
// (Pdeathsig), but nbdkit with --single asks it for SIGTERM instead, whatever
// it was started with, and waits that out while a call of the library hangs.
type watcher struct {
	cmd  *exec.Cmd
	tell io.WriteCloser
}

// newWatcher watches over a process group.
func newWatcher(group int) (*watcher, error) {
	hear, tell, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("watch over nbdkit: %w", err)
	}
	defer hear.Close()
	cmd := exec.Command("sh", "-c", watch, "sh", strconv.Itoa(group))
	cmd.Stdin, cmd.Env, cmd.Dir = hear, environment(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch over nbdkit: %w", err), tell.Close())
	}
	return &watcher{cmd, tell}, nil
}

// dismiss ends it, once there is nothing to watch over.
func (w *watcher) dismiss() {
	_, _ = io.WriteString(w.tell, "done\n") // it may have been killed
	_ = w.tell.Close()
	_ = w.cmd.Wait()
}
