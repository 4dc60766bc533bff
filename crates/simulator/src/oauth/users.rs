//! Users: their ids, their rows, and how they prove who they are.

use serde_json::{Value, json};

use super::Store;
use crate::config::User;
use crate::ids::RecordId;

/// Id of the user at this place of the list; those that every org has come between the first and the others.
pub(crate) fn id_of(index: usize) -> RecordId {
    RecordId::new("005", if index == 0 { 1 } else { index as u64 + 10 })
}

/// His row of the User object.
pub(crate) fn fields(user: &User) -> Value {
    json!({
        "Username": user.username, "FirstName": user.first_name, "LastName": user.last_name, "Name": user.name(),
        "Email": user.email(), "IsActive": user.active,
    })
}

impl Store {
    pub(crate) fn users(&self) -> &[User] {
        &self.users
    }

    pub(crate) fn user(&self, id: RecordId) -> Option<&User> {
        self.users.iter().enumerate().find(|(index, _)| id_of(*index) == id).map(|(_, user)| user)
    }

    pub(crate) fn user_named(&self, username: &str) -> Option<(RecordId, &User)> {
        let found = self.users.iter().enumerate().find(|(_, user)| user.username.eq_ignore_ascii_case(username));
        found.map(|(index, user)| (id_of(index), user))
    }

    pub(crate) fn username(&self, id: RecordId) -> &str {
        self.user(id).map_or("", |user| &user.username)
    }

    /// The user with this name and password.
    pub(crate) fn log_in(&self, username: &str, password: &str) -> Option<RecordId> {
        let (id, user) = self.user_named(username)?;
        (!user.password.is_empty() && user.password == password).then_some(id)
    }

    /// The user with this name, whose security token may stand right behind the password.
    pub(crate) fn log_in_with_token(&self, username: &str, password: &str) -> Option<RecordId> {
        self.log_in(username, password).or_else(|| {
            let (id, user) = self.user_named(username)?;
            let rest = password.strip_prefix(user.password.as_str()).filter(|_| !user.password.is_empty())?;
            (!rest.is_empty() && rest == user.security_token).then_some(id)
        })
    }

    /// Adds a user, or replaces the one with his name; returns his id. Whoever may not sign in any more loses his
    /// sessions, and so does who gets a new password.
    pub(crate) fn put_user(&mut self, mut user: User) -> RecordId {
        let found = self.user_named(&user.username).map(|(id, old)| (id, old.clone()));
        let Some((id, old)) = found else {
            self.users.push(user);
            return id_of(self.users.len() - 1);
        };
        if user.password.is_empty() {
            user.password.clone_from(&old.password);
        }
        if !user.usable() || user.password != old.password {
            self.end_sessions_of(id);
        }
        if let Some(place) = self.users.iter_mut().find(|other| other.username == old.username) {
            *place = user;
        }
        id
    }
}
