//! What is answered: an echo in words, a few thoughts, calls of tools; and the steps in which it is told.
//!
//! The answer to "hello world" is "You said: hello world", cut to the words allowed. A word is a token.

use std::ops::Range;

use super::calls::Usage;
use super::prompt::Prompt;
use super::sse::quoted;

/// What is thought about every wish.
const THOUGHT: &str = "I shall say back what was said.";

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The thoughts; empty: none.
    pub reasoning: String,
    /// The text, single blanks between its words; empty when tools are called.
    pub text: String,
    /// The tools that are called.
    pub tools: Vec<ToolCall>,
    /// Whether words are missing at the end.
    pub cut: bool,
    /// What it cost, its prompt included.
    pub usage: Usage,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Twenty-four hexadecimal digits.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// JSON, spaced as the provider does: `{"text": "<what the user said>"}`.
    pub arguments: String,
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The thoughts.
    Reasoning,
    /// The text.
    Text,
    /// A call, by its place among the calls.
    Tool(usize),
}

/// What is told next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The beginning.
    Open,
    /// A block begins.
    Begin(Block),
    /// A word of a block, with the blank after it: where it stands.
    Piece(Block, Range<usize>),
    /// A block ends.
    End(Block),
    /// Why it ends.
    Finish,
    /// What it cost.
    Usage,
    /// The very end.
    Done,
}

impl Answer {
    /// The answer to a prompt; `words`: of so many words of text, whatever was asked. `id` is the call's uuid.
    #[must_use]
    pub fn new(prompt: &Prompt, words: Option<u64>, id: &str) -> Self {
        let mut answer = Self { usage: prompt.usage, ..Self::default() };
        if let Some(most) = prompt.thought {
            answer.reasoning = first_words(THOUGHT.split(' '), most).0;
        }
        let said = || ["You", "said:"].into_iter().chain(prompt.wish.split_whitespace());
        match words {
            Some(words) => answer.text = first_words(said().cycle(), words).0,
            None => {
                answer.tools = prompt.called().enumerate().map(|call| ToolCall::new(id, call, &prompt.wish)).collect();
                if answer.tools.is_empty() {
                    (answer.text, answer.cut) = first_words(said(), prompt.most.unwrap_or(u64::MAX));
                }
            }
        }
        for step in answer.steps() {
            answer.usage.completion += step.cost().completion;
            answer.usage.reasoning += step.cost().reasoning;
        }
        answer
    }

    /// The steps in which it is told.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Open];
        if !self.reasoning.is_empty() {
            self.block(Block::Reasoning, &mut steps);
        }
        if self.tools.is_empty() {
            self.block(Block::Text, &mut steps);
        }
        for place in 0..self.tools.len() {
            self.block(Block::Tool(place), &mut steps);
        }
        steps.extend([Step::Finish, Step::Usage, Step::Done]);
        steps
    }

    /// What stands there in a block.
    #[must_use]
    pub fn piece(&self, block: Block, range: &Range<usize>) -> &str {
        self.whole(block).get(range.clone()).unwrap_or_default()
    }

    /// All that a block says.
    #[must_use]
    pub fn whole(&self, block: Block) -> &str {
        match block {
            Block::Reasoning => &self.reasoning,
            Block::Text => &self.text,
            Block::Tool(place) => self.tools.get(place).map_or("", |call| &call.arguments),
        }
    }

    fn block(&self, block: Block, steps: &mut Vec<Step>) {
        steps.push(Step::Begin(block));
        let mut start = 0;
        for piece in self.whole(block).split_inclusive(' ') {
            steps.push(Step::Piece(block, start..start + piece.len()));
            start += piece.len();
        }
        steps.push(Step::End(block));
    }
}

impl Step {
    /// The tokens that it writes: one a word, and one for a tool's name.
    #[must_use]
    pub fn cost(&self) -> Usage {
        let (completion, reasoning) = match self {
            Self::Piece(Block::Reasoning, _) => (1, 1),
            Self::Piece(Block::Text | Block::Tool(_), _) | Self::Begin(Block::Tool(_)) => (1, 0),
            Self::Open | Self::Begin(_) | Self::End(_) | Self::Finish | Self::Usage | Self::Done => (0, 0),
        };
        Usage { completion, reasoning, ..Usage::default() }
    }
}

impl ToolCall {
    fn new(id: &str, (place, name): (usize, &str), wish: &str) -> Self {
        let digits = id.chars().filter(|digit| *digit != '-').take(22);
        let id = digits.chain(format!("{:02x}", place % 256).chars()).collect();
        Self { id, name: name.to_owned(), arguments: format!("{{\"text\": {}}}", quoted(wish)) }
    }
}

/// The first words, joined by blanks, and whether there were more.
fn first_words<'words>(words: impl Iterator<Item = &'words str>, most: u64) -> (String, bool) {
    let (mut text, mut count) = (String::new(), 0);
    for word in words {
        if count == most {
            return (text, true);
        }
        if count > 0 {
            text.push(' ');
        }
        text.push_str(word);
        count += 1;
    }
    (text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(wish: &str) -> Prompt {
        Prompt { wish: wish.to_owned(), fresh: true, ..Prompt::new() }
    }

    #[test]
    fn what_was_said_is_said_back_and_cut() {
        let answer = Answer::new(&prompt("hello  world"), None, "");
        assert_eq!((answer.text.as_str(), answer.cut, answer.usage.completion), ("You said: hello world", false, 4));
        let short = Answer::new(&Prompt { most: Some(3), ..prompt("hello world") }, None, "");
        assert_eq!((short.text.as_str(), short.cut, short.usage.completion), ("You said: hello", true, 3));
        let long = Answer::new(&Prompt { most: Some(3), ..prompt("hi") }, Some(7), "");
        assert_eq!((long.text.as_str(), long.cut), ("You said: hi You said: hi You", false));
        assert_eq!(Answer::new(&prompt("hi"), Some(0), "").usage.completion, 0);
    }

    #[test]
    fn pieces_make_the_whole_and_cost_what_the_usage_says() {
        let tools = vec!["time".to_owned(), "tides".to_owned()];
        let asked = Prompt { tools, thought: Some(u64::MAX), ..prompt("the time of \"tides\"") };
        let answer = Answer::new(&asked, None, "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(answer.tools[1].arguments, r#"{"text": "the time of \"tides\""}"#);
        assert_eq!(answer.tools[1].id, "0123456789abcdef01234501");
        for block in [Block::Reasoning, Block::Tool(0), Block::Tool(1)] {
            let told: String = answer.steps().iter().fold(String::new(), |told, step| match step {
                Step::Piece(of, range) if *of == block => told + answer.piece(block, range),
                _ => told,
            });
            assert_eq!(told, answer.whole(block));
        }
        assert_eq!((answer.usage.completion, answer.usage.reasoning), (7 + 2 * 6, 7));
    }
}
