//! What has to be read of a row and of everything below it, planned from the selection before
//! anything is read.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use async_graphql::Context;
use async_graphql::parser::types::Field;
use orion_commands::policy::Area;

use super::page::{Order, Page, PageArgs};
use super::reader::Entity;
use super::selection::{Document, response_key};

/// The most relations that one plan follows. What is selected beyond is loaded as it is resolved, so
/// that no query makes a statement that PostgreSQL needs long to plan.
const BRANCHES_MAX: usize = 40;

/// A table as a plan sees it.
#[derive(Clone, Copy)]
pub struct Noun {
    /// Schema and name.
    pub table: &'static str,
    /// All of its columns.
    pub columns: &'static [&'static str],
    /// The part of Orion that it is in.
    pub area: Area,
    /// SQL that gives the id of a row's owner; the row is called `{t}`.
    pub owner: Option<&'static str>,
    /// The fields that show rows of other tables.
    pub relations: &'static [Relation],
}

impl Noun {
    /// The table of an entity.
    pub const fn of<T: Entity>() -> Self {
        Self {
            table: T::NAME,
            columns: T::COLUMNS,
            area: T::AREA,
            owner: T::OWNER,
            relations: T::RELATIONS,
        }
    }
}

/// A field that shows at most one row of another table.
pub struct ToOne<T> {
    field: &'static str,
    column: &'static str,
    target: PhantomData<fn() -> T>,
}

impl<T: Entity> ToOne<T> {
    /// The row whose id stands in this column of ours.
    pub const fn new(field: &'static str, column: &'static str) -> Self {
        Self { field, column, target: PhantomData }
    }

    /// The same without its type.
    pub const fn relation(self) -> Relation {
        Relation { field: self.field, link: Link::One(self.column), target: Noun::of::<T> }
    }
}

/// A field that shows a list of rows of another table.
pub struct ToMany<T> {
    field: &'static str,
    /// The column of theirs that holds our id.
    pub column: &'static str,
    /// The order of the list.
    pub order: Order,
    target: PhantomData<fn() -> T>,
}

impl<T: Entity> ToMany<T> {
    /// The rows that hold our id in this column.
    pub const fn new(field: &'static str, column: &'static str, order: Order) -> Self {
        Self { field, column, order, target: PhantomData }
    }

    /// The same without its type.
    pub const fn relation(self) -> Relation {
        let link = Link::Many(self.column, self.order);
        Relation { field: self.field, link, target: Noun::of::<T> }
    }
}

/// A field that shows rows of another table.
pub struct Relation {
    /// Its name in GraphQL.
    field: &'static str,
    link: Link,
    /// A function, for relations lead in circles.
    target: fn() -> Noun,
}

/// How rows of two tables belong together.
#[derive(Clone, Copy, Debug)]
enum Link {
    /// Our column holds their id.
    One(&'static str),
    /// Their column holds our id; in this order.
    Many(&'static str, Order),
}

/// What is read of a row.
pub struct Plan {
    /// The table.
    pub noun: Noun,
    /// Which of its columns.
    pub columns: Vec<bool>,
    /// Whether the version of the aggregate is wanted.
    pub version: bool,
    /// What is read of other tables with it.
    pub branches: Vec<Branch>,
    /// Everything that is selected below is planned.
    is_whole: bool,
    /// The operation reads nothing but this.
    pub is_all: bool,
}

/// A relation that is followed.
pub struct Branch {
    /// The name of its field in the answer.
    pub key: String,
    /// What is read of each row.
    pub plan: Arc<Plan>,
    /// Which rows.
    pub rows: BranchRows,
}

/// The rows that a branch leads to.
pub enum BranchRows {
    /// The one whose id stands in this column of ours.
    One(&'static str),
    /// A page of those that hold our id in this column.
    Many(&'static str, ListPlan),
}

/// What is read of a list.
pub struct ListPlan {
    /// Its order.
    pub order: Order,
    /// The part of it.
    pub page: Page,
    /// What of it.
    pub wants: Wants,
}

/// The parts of a connection that are selected.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// The rows, be it to know only whether there are more.
    pub rows: bool,
    /// The places of the rows in the list.
    pub cursors: bool,
    /// The length of the whole list.
    pub count: bool,
}

impl Plan {
    /// Of the row that the field shows which is resolved.
    pub fn of_row<T: Entity>(ctx: &Context<'_>) -> Arc<Self> {
        let (document, field) = (Document::of(ctx), &ctx.item.node);
        let plan = Planner::new(document).row(Noun::of::<T>(), &[field]);
        Arc::new(plan.with_all(document.reads_only(field)))
    }

    /// Of the rows of the connection that the field shows which is resolved.
    pub fn of_list<T: Entity>(ctx: &Context<'_>) -> (Wants, Arc<Self>) {
        let (document, field) = (Document::of(ctx), &ctx.item.node);
        let (wants, plan) = Planner::new(document).list(Noun::of::<T>(), &[field]);
        (wants, Arc::new(plan.with_all(document.reads_only(field))))
    }

    fn with_all(self, reads_only: bool) -> Self {
        Self { is_all: reads_only && self.is_whole, ..self }
    }

    fn new(noun: Noun) -> Self {
        let columns = noun.columns.iter().map(|column| *column == "id").collect();
        Self { noun, columns, version: false, branches: Vec::new(), is_whole: true, is_all: false }
    }

    fn add_column(&mut self, name: &str) -> bool {
        let place = self.noun.columns.iter().position(|column| *column == name);
        place.map(|place| self.columns[place] = true).is_some()
    }
}

/// Fields of one name in the answer, which are answered as one.
struct Group<'a> {
    relation: &'static Relation,
    fields: Vec<&'a Field>,
    /// False when they ask for different things: their parents are then answered by themselves.
    agrees: bool,
}

/// Turns selections into plans.
pub struct Planner<'a> {
    document: Document<'a>,
    /// How many more relations may be followed.
    room: usize,
}

impl<'a> Planner<'a> {
    /// Plans parts of one operation.
    pub fn new(document: Document<'a>) -> Self {
        Self { document, room: BRANCHES_MAX }
    }

    /// Plans what the fields select of a row.
    pub fn row(&mut self, noun: Noun, fields: &[&'a Field]) -> Plan {
        let mut plan = Plan::new(noun);
        let mut groups: BTreeMap<&str, Group<'a>> = BTreeMap::new();
        for field in self.document.below(fields) {
            let name = field.name.node.as_str();
            if let Some(relation) = noun.relations.iter().find(|relation| relation.field == name) {
                self.group(&mut groups, relation, field);
            } else if name == "version" {
                plan.version = true;
            } else if name != "__typename" && !plan.add_column(&column_of(name)) {
                // A field that is not named like a column may show any of them.
                plan.columns.fill(true);
                plan.is_whole = false;
            }
        }
        for (key, group) in groups {
            if let Link::One(column) = group.relation.link {
                plan.add_column(column);
            }
            let branch = self.branch(key, &group);
            plan.is_whole &= branch.as_ref().is_some_and(|branch| branch.plan.is_whole);
            plan.branches.extend(branch);
        }
        plan
    }

    /// Plans what the fields select of a connection.
    pub fn list(&mut self, noun: Noun, fields: &[&'a Field]) -> (Wants, Plan) {
        let mut wants = Wants { rows: false, cursors: false, count: false };
        let mut nodes = Vec::new();
        for field in self.document.below(fields) {
            match field.name.node.as_str() {
                "totalCount" => wants.count = true,
                "nodes" => nodes.push(field),
                "edges" => {
                    for field in self.document.below(&[field]) {
                        match field.name.node.as_str() {
                            "node" => nodes.push(field),
                            _ => wants.cursors = true,
                        }
                    }
                }
                _ => wants.cursors = true,
            }
        }
        wants.rows = wants.cursors || !nodes.is_empty();
        (wants, self.row(noun, &nodes))
    }

    fn group(
        &self,
        groups: &mut BTreeMap<&'a str, Group<'a>>,
        relation: &'static Relation,
        field: &'a Field,
    ) {
        let key = response_key(field);
        let group = groups.entry(key);
        let group = group.or_insert(Group { relation, fields: Vec::new(), agrees: true });
        if let Some(first) = group.fields.first() {
            group.agrees &= first.name.node == field.name.node
                && self.document.arguments(first) == self.document.arguments(field);
        }
        group.fields.push(field);
    }

    /// None when it cannot be planned; its resolver then says what is wrong, or loads it.
    fn branch(&mut self, key: &str, group: &Group<'a>) -> Option<Branch> {
        if !group.agrees || self.room == 0 {
            return None;
        }
        self.room -= 1;
        let noun = (group.relation.target)();
        let (plan, rows) = match group.relation.link {
            Link::One(column) => (self.row(noun, &group.fields), BranchRows::One(column)),
            Link::Many(column, order) => {
                let args = PageArgs::of(&self.document.arguments(group.fields.first()?))?;
                let page = args.parse(&order.list_of(noun.table), order.sql_type).ok()?;
                let (wants, plan) = self.list(noun, &group.fields);
                (plan, BranchRows::Many(column, ListPlan { order, page, wants }))
            }
        };
        Some(Branch { key: key.to_owned(), plan: Arc::new(plan), rows })
    }
}

/// `createdAt` shows the column `created_at`.
fn column_of(field: &str) -> String {
    let mut column = String::with_capacity(field.len() + 2);
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            column.push('_');
        }
        column.push(letter.to_ascii_lowercase());
    }
    column
}
