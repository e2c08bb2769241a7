package director

import (
	"net/http"

	vim "github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// asked is a VM with what it waits to be told, as its vCenter has it now. A VM
// without a question has none to see: vCD answers that as it answers for
// everything that does not exist.
func (c *call) asked(m *vm) (*types.VirtualMachineQuestionInfo, error) {
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	if m.facts == nil || m.facts.question == nil {
		return nil, refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "The VM %q has no pending question.", m.name)
	}
	return m.facts.question, nil
}

func (c *call) question() (*answer, error) {
	m, err := c.onlyVM(c.target())
	if err != nil {
		return nil, err
	}
	q, err := c.asked(m)
	if err != nil {
		return nil, err
	}
	const typ = mediaVCloud + "vmPendingQuestion"
	href := c.s.vmHref(m) + "/question"
	d := add(el("VmPendingQuestion", "href", href, "type", typ+"+xml"), link("up", c.s.vmHref(m), mediaVCloud+"vm+xml"),
		link("answer", href+"/action/answer", mediaVCloud+"vmPendingAnswer+xml"), text("Question", q.Text), text("QuestionId", q.Id))
	for _, ch := range q.Choice.ChoiceInfo {
		e := ch.GetElementDescription()
		add(d, add(el("Choices"), text("Id", e.Key), text("Text", or(e.Summary, e.Label))))
	}
	return ok(typ, d), nil
}

// answerQuestion passes an answer on to vCenter, which checks it.
func (c *call) answerQuestion() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "VmQuestionAnswer")
	if err != nil {
		return nil, err
	}
	q, err := c.asked(m)
	if err != nil {
		return nil, err
	}
	choice, known := value(doc, "ChoiceId"), false
	for _, ch := range q.Choice.ChoiceInfo {
		known = known || ch.GetElementDescription().Key == choice
	}
	if value(doc, "QuestionId") != q.Id || !known {
		return nil, badRequest("%q is no answer to the question %q of VM %q.", choice, q.Id, m.name)
	}
	moref := m.moref
	c.s.mu.Unlock()
	defer c.s.mu.Lock()
	client, err := m.vc.connect(c.r.Context())
	if err != nil {
		return nil, err
	}
	if _, err := vim.AnswerVM(c.r.Context(), client, &types.AnswerVM{This: vmRef(moref), QuestionId: q.Id, AnswerChoice: choice}); err != nil {
		return nil, refuse(http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "vCenter %s: %s", m.vc.name, err)
	}
	return noContent(), nil
}
