package vcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// maxPoll is the longest wait between two looks at a task.
const maxPoll = 5 * time.Second

// A Task is one asynchronous operation (TaskType).
type Task struct {
	ID, Href      string
	Status        string // queued, preRunning, running, success, error, canceled, aborted
	Operation     string // in words: "Updating Virtual Machine web01(…)"
	OperationName string // vappUpdateVm
	Owner         Ref    // what it works on
	User, Org     Ref
	Progress      int // percent
	Start, End    time.Time
	Details       string
	Error         *Error // why it failed
}

// Ended tells whether the task is over, well or not.
func (t *Task) Ended() bool {
	switch t.Status {
	case "success", "error", "canceled", "aborted":
		return true
	}
	return false
}

// A TaskError says that a task ended without success. Canceled and aborted
// tasks are failures: what they were to do is not done.
type TaskError struct {
	Task      *Task
	Status    string // error, canceled, aborted
	Operation string
	Message   string
	Minor     string // minorErrorCode
}

func (e *TaskError) Error() string {
	s := fmt.Sprintf("task %s: %s", e.Operation, e.Status)
	if e.Minor != "" {
		s += " " + e.Minor
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap gives the server's error, for IsBusy, IsNotFound and their like.
func (e *TaskError) Unwrap() error {
	if e.Task == nil || e.Task.Error == nil {
		return nil
	}
	return e.Task.Error
}

type taskElement struct {
	ID            string        `xml:"id,attr"`
	Href          string        `xml:"href,attr"`
	Status        string        `xml:"status,attr"`
	Operation     string        `xml:"operation,attr"`
	OperationName string        `xml:"operationName,attr"`
	Start         string        `xml:"startTime,attr"`
	End           string        `xml:"endTime,attr"`
	Owner         reference     `xml:"Owner"`
	User          reference     `xml:"User"`
	Org           reference     `xml:"Organization"`
	Progress      int           `xml:"Progress"`
	Details       string        `xml:"Details"`
	Error         *errorElement `xml:"Error"`
}

func (e taskElement) task() Task {
	t := Task{
		ID: e.ID, Href: e.Href, Status: e.Status, Operation: oneLine(e.Operation), OperationName: e.OperationName,
		Owner: ref(e.Owner), User: ref(e.User), Org: ref(e.Org), Progress: e.Progress,
		Start: parseTime(e.Start), End: parseTime(e.End), Details: oneLine(e.Details),
	}
	if t.ID == "" {
		t.ID = URN(e.Href)
	}
	if e.Error != nil {
		t.Error = &Error{Major: e.Error.Major, Minor: e.Error.Minor, Message: oneLine(e.Error.Message)}
	}
	return t
}

// parseTime reads xs:dateTime; without a zone it is taken for UTC. What is
// odd becomes the zero time.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

// Task fetches one task.
func (c *Client) Task(ctx context.Context, href string) (*Task, error) {
	doc, err := c.getByID(ctx, href)
	if err != nil {
		return nil, err
	}
	var e taskElement
	if err := parse(doc.Raw, "Task", &e); err != nil {
		return nil, fmt.Errorf("%s: %w", href, err)
	}
	t := e.task()
	if t.Href == "" {
		t.Href = href
	}
	return &t, nil
}

// WaitTask waits until the task has ended. Any end but success is a
// *TaskError. When ctx ends first the task goes on without us.
func (c *Client) WaitTask(ctx context.Context, href string) (*Task, error) {
	wait := &backoff{next: c.poll, most: maxPoll}
	for {
		t, err := c.Task(ctx, href)
		if err != nil {
			return nil, fmt.Errorf("wait for task: %w", err)
		}
		if t.Ended() {
			return t, t.failure()
		}
		if !wait.sleep(ctx, 0) {
			return t, fmt.Errorf("wait for task %s: %w", t.Operation, ctx.Err())
		}
	}
}

func (t *Task) failure() error {
	if t.Status == "success" {
		return nil
	}
	e := &TaskError{Task: t, Status: t.Status, Operation: t.Operation, Message: t.Details}
	if e.Operation == "" {
		e.Operation = t.OperationName
	}
	if t.Error != nil {
		e.Message, e.Minor = t.Error.Message, t.Error.Minor
	}
	return e
}

// DoTask sends a request and waits for the tasks in the answer: a Task, the
// Tasks of an entity, or the Location of a 202. The answer is returned even
// when a task fails, since the entity it names may exist by then.
func (c *Client) DoTask(ctx context.Context, r Request) (*Response, error) {
	answer, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	tasks, err := tasksOf(answer)
	if err != nil {
		return answer, fmt.Errorf("%s %s: %w", r.Method, r.path(), err)
	}
	var failures []error
	for _, t := range tasks {
		if t.Ended() {
			err = t.failure()
		} else {
			_, err = c.WaitTask(ctx, t.Href)
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return answer, fmt.Errorf("%s %s: %w", r.Method, r.path(), errors.Join(failures...))
	}
	return answer, nil
}

func tasksOf(answer *Response) ([]Task, error) {
	var elements []taskElement
	if bytes.HasPrefix(bytes.TrimSpace(answer.Body), []byte("<")) {
		root, err := rootName(answer.Body)
		if err != nil {
			return nil, err
		}
		if root == "Task" {
			elements = make([]taskElement, 1)
			err = parse(answer.Body, root, &elements[0])
		} else {
			var entity struct {
				Tasks []taskElement `xml:"Tasks>Task"`
			}
			err = parse(answer.Body, root, &entity)
			elements = entity.Tasks
		}
		if err != nil {
			return nil, err
		}
	}
	var tasks []Task
	for _, e := range elements {
		tasks = append(tasks, e.task())
	}
	location := answer.Header.Get("Location")
	if len(tasks) == 0 && answer.Status == http.StatusAccepted && strings.Contains(location, "/task/") {
		tasks = append(tasks, Task{Href: location})
	}
	return tasks, nil
}

func rootName(raw []byte) (string, error) {
	d, err := newDecoder(raw)
	if err != nil {
		return "", err
	}
	root, err := rootElement(d)
	return root.Name.Local, err
}

// RunningTasks lists the tasks that have not ended on any of the objects
// (URNs or hrefs), or on any object when none is given.
func (c *Client) RunningTasks(ctx context.Context, objectIDs ...string) ([]Task, error) {
	wanted := make(map[string]bool)
	for _, id := range objectIDs {
		wanted[UUID(id)] = true
	}
	typ := "task"
	if c.provider {
		typ = "adminTask"
	}
	var tasks []Task
	for r, err := range c.Query(ctx, typ, "status==queued,status==preRunning,status==running") {
		if errors.Is(err, ErrShort) {
			break // tasks end while they are counted
		}
		if err != nil {
			return nil, err
		}
		t := Task{
			ID: r.id(), Href: r.Href, Status: r.Attrs["status"], OperationName: r.Attrs["name"],
			Operation: oneLine(r.Attrs["operationFull"]), Progress: int(r.int("progress")),
			Owner: Ref{ID: URN(r.Attrs["object"]), Href: r.Attrs["object"], Name: r.Attrs["objectName"], Type: r.Attrs["objectType"]},
			User:  Ref{Name: r.Attrs["ownerName"]},
			Org:   Ref{ID: URN(r.Attrs["org"]), Href: r.Attrs["org"], Name: r.Attrs["orgName"]},
			Start: parseTime(r.Attrs["startDate"]), End: parseTime(r.Attrs["endDate"]),
		}
		if t.Ended() || len(wanted) > 0 && !wanted[UUID(t.Owner.Href)] {
			continue
		}
		if t.Operation == "" {
			t.Operation = t.OperationName
		}
		tasks = append(tasks, t)
	}
	return tasks, nil
}
